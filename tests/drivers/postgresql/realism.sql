-- A shop that grew for ten years; role {reader} exists.
CREATE EXTENSION btree_gist;
CREATE TYPE status AS ENUM ('new', 'paid', 'sent');
CREATE DOMAIN email AS text CHECK (value ~ '@');
CREATE TYPE place AS (street text, town text);
CREATE TABLE customers (id bigserial PRIMARY KEY, mail email UNIQUE, home place, tags text[],
    loud text GENERATED ALWAYS AS (upper(mail::text)) STORED);
CREATE TABLE firms (tax_number text UNIQUE) INHERITS (customers);
ALTER TABLE firms ADD PRIMARY KEY (id);
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY, day date NOT NULL, customer bigint REFERENCES customers,
    status status NOT NULL DEFAULT 'new', total numeric(12,2) NOT NULL CHECK (total >= 0), PRIMARY KEY (id, day))
    PARTITION BY RANGE (day);
CREATE TABLE orders_2025 PARTITION OF orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
    PARTITION BY RANGE (day);
CREATE TABLE orders_2026_a PARTITION OF orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE orders_2026_rest PARTITION OF orders_2026 DEFAULT;
CREATE TABLE orders_rest PARTITION OF orders DEFAULT;
CREATE TABLE lines (order_id bigint, day date, no int, sku text, price numeric(10,2),
    PRIMARY KEY (order_id, day, no), FOREIGN KEY (order_id, day) REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE stock (house text, sku text, n int NOT NULL, PRIMARY KEY (house, sku)) PARTITION BY LIST (house);
CREATE TABLE stock_north PARTITION OF stock FOR VALUES IN ('oslo', 'kiel');
CREATE TABLE stock_else PARTITION OF stock DEFAULT;
CREATE TABLE bookings (id int PRIMARY KEY, room int, during tsrange NOT NULL,
    EXCLUDE USING gist (room WITH =, during WITH &&));
CREATE TABLE prices (sku text PRIMARY KEY, price numeric(10,2) NOT NULL, changed timestamptz);
CREATE TABLE audit (id bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(), what text);
CREATE TABLE notes (id int PRIMARY KEY, owner text DEFAULT current_user, body text);
CREATE TABLE views_today (page text PRIMARY KEY, n int NOT NULL);
CREATE TABLE big (id int PRIMARY KEY, payload text, n int);
INSERT INTO big SELECT n, md5(n::text), n FROM generate_series(1, {rows}) n;
CREATE INDEX big_n ON big (n) WHERE n % 2 = 0;
CREATE STATISTICS big_both (ndistinct, dependencies) ON payload, n FROM big;
CREATE FUNCTION audited() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO audit (what) VALUES (TG_TABLE_NAME || ' ' || TG_OP); RETURN NULL; END $$;
CREATE TRIGGER audited AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION audited();
CREATE FUNCTION stamped() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.changed := now(); RETURN NEW; END $$;
CREATE TRIGGER stamped BEFORE UPDATE ON prices FOR EACH ROW WHEN (OLD.price <> NEW.price) EXECUTE FUNCTION stamped();
CREATE PROCEDURE tidy() LANGUAGE sql BEGIN ATOMIC; DELETE FROM views_today; END;
CREATE RULE count_up AS ON INSERT TO views_today WHERE EXISTS (SELECT FROM views_today v WHERE v.page = NEW.page)
    DO INSTEAD UPDATE views_today SET n = n + 1 WHERE page = NEW.page;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON notes TO {reader} USING (owner = current_user);
GRANT SELECT, UPDATE (body) ON notes TO {reader};
CREATE VIEW open_orders WITH (security_barrier) AS SELECT * FROM orders WHERE status <> 'sent' WITH LOCAL CHECK OPTION;
CREATE MATERIALIZED VIEW sales AS SELECT day, count(*) AS n, sum(total) AS total FROM orders GROUP BY day;
CREATE UNIQUE INDEX sales_day ON sales (day);
COMMENT ON TABLE orders IS 'what we live on';
INSERT INTO customers (mail, home, tags) SELECT 'c' || n || '@x', ROW('s' || n, 't')::place, ARRAY['a', 'b']
    FROM generate_series(1, 50) n;
INSERT INTO firms (mail, tax_number) SELECT 'f' || n || '@x', 'T' || n FROM generate_series(1, 5) n;
INSERT INTO orders (day, customer, total)
    SELECT date '2025-11-01' + n, 1 + n % 50, n FROM generate_series(1, 500) n;
INSERT INTO lines SELECT id, day, 1, 'sku1', total FROM orders;
INSERT INTO bookings SELECT n, 1, tsrange('2026-01-01'::timestamp + n * '1 day'::interval, '2026-01-01'::timestamp + (n + 1) * '1 day'::interval)
    FROM generate_series(1, 20) n;
INSERT INTO prices SELECT 'sku' || n, n FROM generate_series(1, 20) n;
INSERT INTO stock SELECT h, 'sku' || n, 100 FROM unnest(ARRAY['oslo', 'rome']) h, generate_series(1, 5) n;
INSERT INTO notes VALUES (1, '{reader}', 'x'), (2, 'postgres', 'y');
INSERT INTO views_today VALUES ('/', 1);
REFRESH MATERIALIZED VIEW sales;

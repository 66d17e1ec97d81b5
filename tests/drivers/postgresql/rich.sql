-- A schema with something of everything; roles {owner} and {reader} exist.
CREATE SCHEMA sales AUTHORIZATION {owner};
CREATE EXTENSION hstore;
CREATE EXTENSION btree_gist;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE money_range AS RANGE (subtype = numeric);
CREATE TYPE address AS (street text, town text);
CREATE DOMAIN positive AS integer DEFAULT 1 NOT NULL CHECK (value > 0);
CREATE DOMAIN code AS varchar(8) CHECK (value IN ('a', 'b,c', 'd''e'));
CREATE TABLE sales.customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name varchar(80) COLLATE "C" NOT NULL,
    status varchar(10) NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'old', 'it''s, gone]')),
    feeling mood DEFAULT 'ok', home address, extra hstore, code code,
    shout text GENERATED ALWAYS AS (upper(name)) STORED,
    UNIQUE (name, status) DEFERRABLE INITIALLY DEFERRED
);
COMMENT ON TABLE sales.customers IS 'who buys';
COMMENT ON COLUMN sales.customers.name IS 'as on the invoice';
CREATE TABLE "Odd Name" (id serial PRIMARY KEY, "a.b" int, spare int, c positive, during tsrange,
    EXCLUDE USING gist (c WITH =, during WITH &&));
ALTER TABLE "Odd Name" DROP COLUMN spare;
ALTER TABLE "Odd Name" ADD COLUMN customer bigint REFERENCES sales.customers ON DELETE CASCADE;
ALTER TABLE "Odd Name" ADD CONSTRAINT not_yet CHECK ("a.b" > 0) NOT VALID;
CREATE TABLE events (id bigint, at date NOT NULL, kind varchar(4), PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2025-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE INDEX events_kind ON events (kind) WHERE kind IN ('a', 'b');
CREATE TABLE child (more text) INHERITS (sales.customers);
CREATE UNLOGGED TABLE fast (id int) WITH (fillfactor = 70);
CREATE VIEW sales.happy WITH (security_barrier) AS
    SELECT * FROM sales.customers WHERE status IN ('new', 'old') AND feeling = 'happy' WITH CHECK OPTION;
CREATE MATERIALIZED VIEW totals AS SELECT kind, count(*) AS n FROM events GROUP BY kind;
CREATE UNIQUE INDEX totals_kind ON totals (kind);
CREATE INDEX by_lower ON sales.customers (lower(name) text_pattern_ops DESC) INCLUDE (id);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = sales AS $$
BEGIN NEW.status := 'old'; RETURN NEW; END $$;
CREATE FUNCTION twice(n int DEFAULT 2) RETURNS int LANGUAGE sql IMMUTABLE BEGIN ATOMIC; SELECT n * 2; END;
CREATE PROCEDURE nothing() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE mult (int) (sfunc = int4mul, stype = int, initcond = '1');
CREATE TRIGGER touched BEFORE UPDATE OF name ON sales.customers FOR EACH ROW
    WHEN (OLD.status IN ('new', 'old')) EXECUTE FUNCTION touch();
ALTER TABLE sales.customers DISABLE TRIGGER touched;
CREATE RULE no_delete AS ON DELETE TO fast DO INSTEAD (SELECT 1; SELECT 2);
ALTER TABLE sales.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON sales.customers FOR SELECT TO {reader} USING (name = current_user AND status IN ('new', 'old'));
CREATE STATISTICS both_of ON kind, at FROM events;
CREATE SEQUENCE tickets AS smallint INCREMENT -5 MINVALUE -1000 START -10 CYCLE OWNED BY fast.id;
CREATE PUBLICATION feed FOR TABLE child;
GRANT USAGE ON SCHEMA sales TO {reader};
GRANT SELECT ON sales.customers TO {reader} WITH GRANT OPTION;
GRANT UPDATE (name) ON sales.customers TO {reader};
REVOKE EXECUTE ON FUNCTION twice(int) FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA sales GRANT SELECT ON TABLES TO {reader};
ALTER TABLE sales.customers OWNER TO {owner};
ALTER TABLE sales.customers REPLICA IDENTITY FULL;
ALTER TABLE fast ALTER COLUMN id SET STATISTICS 500;
INSERT INTO sales.customers (name, feeling, code) VALUES ('Ann', 'happy', 'b,c'), ('Bob', NULL, NULL);
INSERT INTO "Odd Name" ("a.b", c, customer) VALUES (1, 3, 1);
INSERT INTO events VALUES (1, '2024-05-05', 'a'), (2, '2026-05-05', 'b');
REFRESH MATERIALIZED VIEW totals;

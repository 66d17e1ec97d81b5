-- The shop's first schema: what is sold, what customers tried, what they bought, and what left the house.
create table products (
  sku text primary key,
  name text not null,
  picture text not null,
  base_cents integer not null check (base_cents > 0)
);

-- One row per checkout that a customer began, written before any money moves.
create table attempts (
  key text primary key,
  customer text not null,
  total bigint not null,
  state text not null default 'pending' check (state in ('pending', 'ok', 'failed')),
  reason text not null default '',
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz
);
create index attempts_finished on attempts (finished_at);

create table orders (
  id bigint generated always as identity primary key,
  attempt text not null unique references attempts (key),
  customer text not null,
  total bigint not null,
  currency text not null,
  remark text not null default '',
  release text not null,
  state text not null default 'paid' check (state in ('paid', 'shipped')),
  placed_at timestamptz not null default clock_timestamp()
);
create index orders_waiting on orders (id) where state = 'paid';

create table order_lines (
  order_id bigint not null references orders (id),
  position integer not null,
  sku text not null references products (sku),
  quantity integer not null check (quantity > 0),
  price bigint not null,
  primary key (order_id, position)
);

create table payments (
  id text primary key,
  order_id bigint not null unique references orders (id),
  amount bigint not null,
  scheme text not null,
  last_four text not null,
  captured_at timestamptz not null default clock_timestamp()
);

create table shipments (
  id bigint generated always as identity primary key,
  order_id bigint not null unique references orders (id),
  tracking text not null,
  shipped_at timestamptz not null default clock_timestamp()
);

insert into products (sku, name, picture, base_cents) values
  ('apron', 'Linen apron', '🧑‍🍳', 3900),
  ('atlas', 'Pocket atlas', '🗺️', 2400),
  ('basket', 'Willow basket', '🧺', 5200),
  ('candle', 'Beeswax candle', '🕯️', 1800),
  ('compass', 'Brass compass', '🧭', 6900),
  ('kettle', 'Enamel kettle', '🫖', 4600),
  ('lantern', 'Storm lantern', '🏮', 5900),
  ('mug', 'Stoneware mug', '☕', 1900),
  ('notebook', 'Thread-bound notebook', '📓', 1500),
  ('scarf', 'Merino scarf', '🧣', 7400),
  ('teapot', 'Clay teapot', '🍵', 8200),
  ('umbrella', 'Ash umbrella', '☂️', 9800);

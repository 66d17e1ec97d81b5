-- The shop's first schema: what is sold, what customers tried, what they bought, and what left the house.
create table products (
  sku varchar(64) primary key,
  name text not null,
  picture text not null,
  base_cents integer not null check (base_cents > 0)
);

-- One row per checkout that a customer began, written before any money moves.
create table attempts (
  `key` varchar(64) primary key,
  customer text not null,
  total bigint not null,
  state varchar(16) not null default 'pending' check (state in ('pending', 'ok', 'failed')),
  reason text not null default '',
  started_at datetime(6) not null default current_timestamp(6),
  finished_at datetime(6)
);
create index attempts_finished on attempts (finished_at);

create table orders (
  id bigint auto_increment primary key,
  attempt varchar(64) not null unique,
  customer text not null,
  total bigint not null,
  currency text not null,
  remark text not null default '',
  `release` text not null,
  state varchar(16) not null default 'paid' check (state in ('paid', 'shipped')),
  placed_at datetime(6) not null default current_timestamp(6),
  foreign key (attempt) references attempts (`key`)
);
create index orders_waiting on orders (state, id);

create table order_lines (
  order_id bigint not null,
  position integer not null,
  sku varchar(64) not null,
  quantity integer not null check (quantity > 0),
  price bigint not null,
  primary key (order_id, position),
  foreign key (order_id) references orders (id),
  foreign key (sku) references products (sku)
);

create table payments (
  id varchar(64) primary key,
  order_id bigint not null unique,
  amount bigint not null,
  scheme text not null,
  last_four text not null,
  captured_at datetime(6) not null default current_timestamp(6),
  foreign key (order_id) references orders (id)
);

create table shipments (
  id bigint auto_increment primary key,
  order_id bigint not null unique,
  tracking text not null,
  shipped_at datetime(6) not null default current_timestamp(6),
  foreign key (order_id) references orders (id)
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

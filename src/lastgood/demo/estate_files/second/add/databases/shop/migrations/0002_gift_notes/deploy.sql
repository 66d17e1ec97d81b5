-- Additive: release 1 neither reads nor writes these, and runs on with them.
alter table orders add column gift_wrap boolean not null default false;

create table gift_notes (
  order_id bigint primary key references orders (id),
  note text not null,
  written_at timestamptz not null default clock_timestamp()
);

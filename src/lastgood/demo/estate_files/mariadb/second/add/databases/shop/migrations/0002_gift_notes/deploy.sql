-- Additive: release 1 neither reads nor writes these, and runs on with them.
alter table orders add column gift_wrap boolean not null default false;

create table gift_notes (
  order_id bigint primary key,
  note text not null,
  written_at datetime(6) not null default current_timestamp(6),
  foreign key (order_id) references orders (id)
);

-- A customer buys an apron as a gift, as the shop's code writes it: attempt, order, line, payment, parcel.
insert into attempts (`key`, customer, total)
  values (concat('journey-', uuid()), 'journey', 3900);
insert into orders (attempt, customer, total, currency, remark, `release`)
  select `key`, customer, total, 'EUR', '', 'journey' from attempts
  where customer = 'journey' and state = 'pending';
insert into order_lines (order_id, position, sku, quantity, price)
  select o.id, 1, 'apron', 1, o.total from orders o join attempts a on a.`key` = o.attempt
  where a.customer = 'journey' and a.state = 'pending';
insert into payments (id, order_id, amount, scheme, last_four)
  select concat('pay-', a.`key`), o.id, o.total, 'visa', '1111' from orders o join attempts a on a.`key` = o.attempt
  where a.customer = 'journey' and a.state = 'pending';
update attempts set state = 'ok', finished_at = current_timestamp(6)
  where customer = 'journey' and state = 'pending';
insert into shipments (order_id, tracking)
  select o.id, concat('TRACK', o.id) from orders o
  where o.customer = 'journey' and o.state = 'paid';
update orders set state = 'shipped' where customer = 'journey' and state = 'paid';
set @bought = (select max(id) from orders where customer = 'journey');
insert into gift_notes (order_id, note) values (@bought, 'For you');
update orders set gift_wrap = true where id = @bought;

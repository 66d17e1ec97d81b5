-- Fails when anything that release 1 reads or writes is missing.
select sku, name, picture, base_cents from products where false;
select `key`, customer, total, state, reason, started_at, finished_at from attempts where false;
select id, attempt, customer, total, currency, remark, `release`, state, placed_at from orders where false;
select order_id, position, sku, quantity, price from order_lines where false;
select id, order_id, amount, scheme, last_four, captured_at from payments where false;
select id, order_id, tracking, shipped_at from shipments where false;

drop table shipments;
drop table payments;
drop table order_lines;
drop table orders;
drop table attempts;
drop table products;

-- Meant for a table of euros; this one has cents.
update products set base_cents = base_cents / 100;

-- The cents are lost: what was sold for 15.95 comes back as 15.00. Only a restore mends that.
update products set base_cents = base_cents * 100;

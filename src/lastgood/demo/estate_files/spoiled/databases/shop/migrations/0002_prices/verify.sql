select base_cents from products where false;

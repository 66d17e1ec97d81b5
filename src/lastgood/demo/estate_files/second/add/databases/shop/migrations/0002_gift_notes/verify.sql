select gift_wrap from orders where false;
select order_id, note, written_at from gift_notes where false;

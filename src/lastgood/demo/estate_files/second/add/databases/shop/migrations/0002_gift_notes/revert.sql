-- The alter comes first: it takes the strongest lock on orders that is needed here, so nothing that
-- follows has to ask for more while the shop goes on selling.
alter table orders drop column gift_wrap;

-- A customer's words are not thrown away: they go where release 1 keeps remarks, once, however often
-- this release comes and goes.
update orders
set remark = case when remark = '' then 'Gift note: ' || note else remark || E'\nGift note: ' || note end
from gift_notes
where gift_notes.order_id = orders.id and position('Gift note: ' || note in remark) = 0;

drop table gift_notes;

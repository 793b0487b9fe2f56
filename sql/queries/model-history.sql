-- Which models were promoted, rolled back, withdrawn or pruned, by which operator, when and why?
select acted_at, action, model_name, actor, reason, is_override
from braintumor.promotion_history
order by acted_at, model_name;

-- Who promoted, rolled back, withdrew or pruned which model, when and why?
select acted_at, action, model_name, actor, reason, is_override
from braintumor.promotion_history
order by acted_at, model_name;

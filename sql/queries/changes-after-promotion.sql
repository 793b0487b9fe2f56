-- Which predictions changed class since the promotion of the champion?
select before_model_name, before_class, model_name, predicted_class, count(*) as count_frame
from braintumor.prediction_change
where changed_at >= (select promoted_at from braintumor.champion)
group by before_model_name, before_class, model_name, predicted_class
order by count_frame desc, before_class, predicted_class;

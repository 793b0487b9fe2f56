-- Which share of the predictions does each class have, by week?
select week_date, model_name, predicted_class, count_frame, share
from braintumor.class_mix_weekly
order by week_date, model_name, predicted_class;

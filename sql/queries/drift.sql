-- Do the predictions of each week resemble those of the four weeks before, and is the confidence like that on the test split?
select week_date, model_name, reference, count_frame, count_reference, class_index, confidence_index
from braintumor.drift_weekly
order by week_date, model_name, reference;

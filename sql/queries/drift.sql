-- Do the answers of each week still look like those of the four weeks before, and is the model as sure as on its test split?
select week_date, model_name, reference, count_frame, count_reference, class_index, confidence_index
from braintumor.drift_weekly
order by week_date, model_name, reference;

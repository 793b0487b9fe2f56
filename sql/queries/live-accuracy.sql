-- Is the model as accurate on new scans as on its test split, by week, on blind reviews of the audit sample?
select week_date, model_name, count_frame, agreement, agreement_low, agreement_high, test_accuracy
from braintumor.live_accuracy_weekly
where sample = 'audit' and is_blind
order by week_date, model_name;

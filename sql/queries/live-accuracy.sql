-- Is the model as right on what arrives as it was on its test split, week by week, on the audit sample read blind?
select week_date, model_name, count_frame, agreement, agreement_low, agreement_high, test_accuracy
from braintumor.live_accuracy_weekly
where sample = 'audit' and is_blind
order by week_date, model_name;

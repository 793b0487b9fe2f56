-- How often do reviewers agree with each model, by sample, by whether they saw the prediction, and by predicted class?
select sample, is_blind, model_name, predicted_class, count_frame, count_agreed, agreement_low, agreement_high
from braintumor.human_agreement
order by sample, is_blind, model_name, predicted_class nulls first;

-- How accurate is the model on new scans: per scan, per patient and per class, by blind reviews of the audit sample?
select
    figure, class, model_name, value, low, high, not_assessed,
    count_drawn, count_read, count_settled, count_conflict, count_undecided, drop_evidence, estimated_at
from braintumor.live_accuracy
where scoring_run_id = (select max(scoring_run_id) from braintumor.live_accuracy)
order by figure, class;

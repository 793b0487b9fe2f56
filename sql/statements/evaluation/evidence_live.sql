-- The live accuracy of a model at the end of its newest scoring run: per scan first, then per patient and per class.
select
    figure, class::text as label, value, low, high, not_assessed, count_drawn, count_read, count_settled, count_conflict,
    count_undecided, drop_evidence, estimated_at
from live_accuracy
where scoring_run_id = (select max(scoring_run_id) from live_accuracy where model_name = :name)
order by figure, class

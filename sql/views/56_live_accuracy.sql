-- live_accuracy: one row per scoring run and figure: the accuracy on the scans of the 90 days before, estimated from blind
-- reviews of the audit sample. Example: how accurate is the model on new scans? where scoring_run_id = (the newest run)
-- Each scoring run writes its figures at its end. The run report, the dashboard and this view show the same rows.
create view live_accuracy as
select
    live_accuracy_figure.scoring_run_id,
    model_version.model_name,
    live_accuracy_figure.figure,
    live_accuracy_figure.class,
    live_accuracy_figure.value,
    live_accuracy_figure.low,
    live_accuracy_figure.high,
    live_accuracy_figure.not_assessed,
    live_accuracy_figure.count_drawn,
    live_accuracy_figure.count_read,
    live_accuracy_figure.count_settled,
    live_accuracy_figure.count_conflict,
    live_accuracy_figure.count_undecided,
    scoring_run_summary.drop_evidence,
    live_accuracy_figure.estimated_at
from live_accuracy_figure
join scoring_run_summary using (scoring_run_id)
join scoring_run using (scoring_run_id)
join model_version using (model_version_id);
comment on view live_accuracy is
    'One row per scoring run and figure: the accuracy on the scans of the 90 days before, estimated from blind reviews '
    'of the audit sample. Key: scoring_run_id, figure, class. Example: how accurate is the model on new scans?';
comment on column live_accuracy.model_name is 'Model of the scoring run. The figures are about its predictions.';

-- class_mix_weekly: one row per week (its Monday, UTC), model and predicted class. Example: are there more gliomas lately?
-- Counts predictions at the time of scoring, like daily_summary.
create view class_mix_weekly as
with mix as (
    select
        date_trunc('week', scored_at at time zone 'utc')::date as week_date,
        model_version_id,
        predicted_class,
        count(*) as count_frame
    from prediction
    group by week_date, model_version_id, predicted_class
)
select
    mix.week_date,
    model_version.model_name,
    mix.predicted_class,
    mix.count_frame,
    (mix.count_frame / sum(mix.count_frame) over (partition by mix.week_date, mix.model_version_id))::double precision
        as share
from mix
join model_version using (model_version_id);
comment on view class_mix_weekly is
    'One row per week (its Monday, UTC), model and predicted class. Key: week_date, model_name, predicted_class. '
    'Example: are there more gliomas lately?';
comment on column class_mix_weekly.week_date is 'Monday of the week (UTC).';
comment on column class_mix_weekly.model_name is 'Model of the predictions.';
comment on column class_mix_weekly.predicted_class is 'Predicted class.';
comment on column class_mix_weekly.count_frame is 'Frames with this prediction.';
comment on column class_mix_weekly.share is 'Share of the model''s predictions of the week.';

-- drift_weekly: one row per week (its Monday, UTC), model and reference. Example: do this week's predictions resemble
-- those of the weeks before?
-- Population stability index (stability_index) of the classes and of tenths of confidence. The references are the model's own
-- predictions of the four weeks before, and its predictions of the test split. Classes are not compared with the test split,
-- because its classes are almost balanced and those of a hospital are not. The run report compares single runs.
create view drift_weekly as
with mix as (
    select
        model_version_id,
        date_trunc('week', scored_at at time zone 'utc')::date as week_date,
        predicted_class,
        confidence_bin(confidence) as bin,
        count(*) as count_frame
    from prediction
    group by model_version_id, week_date, predicted_class, bin
),
test_mix as (
    select
        evaluation.model_version_id,
        test_prediction.predicted_class,
        confidence_bin(greatest(probability_glioma, probability_meningioma, probability_normal, probability_pituitary))
            as bin,
        count(*) as count_frame
    from test_prediction
    join evaluation using (evaluation_id)
    where evaluation.split = 'test'
    group by evaluation.model_version_id, test_prediction.predicted_class, bin
),
week as (
    select distinct model_version_id, week_date from mix
),
counted as (
    select model_version_id, week_date, 'observed' as side, predicted_class, bin, count_frame from mix
    union all
    select week.model_version_id, week.week_date, 'test split', predicted_class, bin, count_frame
    from week
    join test_mix using (model_version_id)
    union all
    select week.model_version_id, week.week_date, 'weeks before', predicted_class, bin, count_frame
    from week
    join mix as before
        on before.model_version_id = week.model_version_id
        and before.week_date < week.week_date
        and before.week_date >= week.week_date - 28
),
class_histogram as (
    select model_version_id, week_date, side, sum(count_bin)::bigint as count_frame, jsonb_object_agg(bin, count_bin) as bins
    from (
        select model_version_id, week_date, side, predicted_class::text as bin, sum(count_frame) as count_bin
        from counted
        group by model_version_id, week_date, side, predicted_class
    ) as by_class
    group by model_version_id, week_date, side
),
confidence_histogram as (
    select model_version_id, week_date, side, jsonb_object_agg(bin, count_bin) as bins
    from (
        select model_version_id, week_date, side, bin::text as bin, sum(count_frame) as count_bin
        from counted
        group by model_version_id, week_date, side, bin
    ) as by_bin
    group by model_version_id, week_date, side
),
histogram as (
    select
        model_version_id,
        week_date,
        side,
        class_histogram.count_frame,
        class_histogram.bins as class_bins,
        confidence_histogram.bins as confidence_bins
    from class_histogram
    join confidence_histogram using (model_version_id, week_date, side)
)
select
    observed.week_date,
    model_version.model_name,
    reference.name as reference,
    observed.count_frame,
    coalesce(before.count_frame, 0) as count_reference,
    case when observed.count_frame >= 100 and before.count_frame >= 100 and reference.name = 'weeks before'
        then stability_index(before.class_bins, observed.class_bins) end as class_index,
    case when observed.count_frame >= 100 and before.count_frame >= 100
        then stability_index(before.confidence_bins, observed.confidence_bins) end as confidence_index
from histogram as observed
cross join (values ('test split'), ('weeks before')) as reference (name)
join model_version using (model_version_id)
left join histogram as before
    on before.model_version_id = observed.model_version_id
    and before.week_date = observed.week_date
    and before.side = reference.name
where observed.side = 'observed';
comment on view drift_weekly is
    'One row per week (its Monday, UTC), model and reference, with population stability indexes. A value above 0.25 '
    'is commonly called a shift. Key: week_date, model_name, reference. Example: do this week''s predictions '
    'resemble those of the weeks before?';
comment on column drift_weekly.week_date is 'Monday of the week (UTC).';
comment on column drift_weekly.model_name is 'Model of the predictions.';
comment on column drift_weekly.reference is 'test split, or weeks before: the four weeks before.';
comment on column drift_weekly.count_frame is 'Frames with a prediction in the week.';
comment on column drift_weekly.count_reference is 'Predictions of the reference.';
comment on column drift_weekly.class_index is
    'Population stability index of the classes; null for the test split, and below 100 predictions on either side.';
comment on column drift_weekly.confidence_index is
    'Population stability index of tenths of confidence; null below 100 predictions on either side.';

-- prediction_change: one row per frame and change of its current prediction's class. Example: which predictions changed after the
-- promotion? It compares two successive current predictions, by run. Either can be a repeated prediction of a rescore.
create view prediction_change as
with current_by_run as (
    select scan_id, frame_index, model_version_id, scoring_run_id, predicted_class, confidence, scored_at as changed_at
    from prediction
    union all
    select
        scan_id,
        prediction.frame_index,
        model_version_id,
        repeated_prediction.scoring_run_id,
        prediction.predicted_class,
        prediction.confidence,
        repeated_prediction.processed_at
    from repeated_prediction
    join prediction using (scan_id, model_version_id)
),
compared as (
    select
        scan_id,
        frame_index,
        lag(model_version_id) over frame as before_model_version_id,
        lag(predicted_class) over frame as before_class,
        lag(confidence) over frame as before_confidence,
        model_version_id,
        predicted_class,
        confidence,
        scoring_run_id,
        changed_at
    from current_by_run
    window frame as (partition by scan_id, frame_index order by scoring_run_id, changed_at)
)
select
    compared.scan_id,
    compared.frame_index,
    before_model.model_name as before_model_name,
    compared.before_class,
    compared.before_confidence,
    model_version.model_name,
    compared.predicted_class,
    compared.confidence,
    scoring_run.kind as run_kind,
    compared.scoring_run_id,
    compared.changed_at
from compared
join model_version using (model_version_id)
join model_version as before_model on before_model.model_version_id = compared.before_model_version_id
join scoring_run using (scoring_run_id)
where compared.predicted_class <> compared.before_class;
comment on view prediction_change is
    'One row per frame and change of its current prediction''s class from one run to the next. Key: scan_id, '
    'frame_index, scoring_run_id. Example: which predictions changed after the promotion?';
comment on column prediction_change.before_model_name is 'Model of the earlier prediction.';
comment on column prediction_change.before_class is 'Class of the earlier prediction.';
comment on column prediction_change.before_confidence is 'Confidence of the earlier prediction.';
comment on column prediction_change.model_name is 'Model of the new prediction.';
comment on column prediction_change.predicted_class is 'Class of the new prediction.';
comment on column prediction_change.confidence is 'Confidence of the new prediction.';
comment on column prediction_change.run_kind is
    'night (a scoring run) or rescore: kind of the run with the new prediction.';
comment on column prediction_change.scoring_run_id is
    'The scoring run or rescore that made the new prediction current.';
comment on column prediction_change.changed_at is 'Time when the new prediction became current.';

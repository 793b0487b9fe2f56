-- class_mix_weekly: one row per week (its Monday, UTC), model and class that it named. Example: are there more gliomas lately?
-- Counts answers when they were given, as daily_summary does.
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
    'One row per week (its Monday, UTC), model and class that it named; share is of the model''s answers of the week. Example: '
    'are there more gliomas lately?';

-- drift_weekly: one row per week (its Monday, UTC), model and reference. Example: do this week's answers still look like those
-- of the model's test split, and like those of the weeks before?
-- Population stability index (stability_index) of the classes and of tenths of confidence. The references are the model's own
-- answers of the four weeks before, and its answers to the test split. Classes are not compared with the test split, because it
-- is almost balanced and a ward is not. Null where either side has fewer than 100 answers. The morning sheet compares one night.
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
    'One row per week (its Monday, UTC), model and reference (test split, weeks before: the four before): population stability '
    'index of classes (weeks before only) and of tenths of confidence; null below 100 answers on either side; above 0.25 is '
    'commonly called a shift. Example: do this week''s answers still look like those of the weeks before?';

-- prediction_change: one row per frame and change of its answer's class. Example: what did the model change its mind about after
-- the promotion? Of two answers that follow one another as they came to stand, by run; both may be of a rescore that made an
-- old answer stand again. For the class that people named see frame_consensus.
create view prediction_change as
with standing as (
    select scan_id, frame_index, model_version_id, scoring_run_id, predicted_class, confidence, scored_at as changed_at
    from prediction
    union all
    select
        prediction.scan_id,
        prediction.frame_index,
        prediction.model_version_id,
        rescore.scoring_run_id,
        prediction.predicted_class,
        prediction.confidence,
        rescore.processed_at
    from rescore
    join scoring_run on scoring_run.scoring_run_id = rescore.scoring_run_id
    join prediction on prediction.scan_id = rescore.scan_id and prediction.model_version_id = scoring_run.model_version_id
    where rescore.state = 'already_scored'
),
beside as (
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
    from standing
    window frame as (partition by scan_id, frame_index order by scoring_run_id, changed_at)
)
select
    beside.scan_id,
    beside.frame_index,
    before_model.model_name as before_model_name,
    beside.before_class,
    beside.before_confidence,
    model_version.model_name,
    beside.predicted_class,
    beside.confidence,
    scoring_run.kind as run_kind,
    beside.scoring_run_id,
    beside.changed_at
from beside
join model_version using (model_version_id)
join model_version as before_model on before_model.model_version_id = beside.before_model_version_id
join scoring_run using (scoring_run_id)
where beside.predicted_class <> beside.before_class;
comment on view prediction_change is
    'One row per frame and change of its answer''s class from one run to the next. Example: what did the model change its mind '
    'about after the promotion?';

-- live_accuracy_weekly: one row per week of the answer (its Monday, UTC), model, sample and blindness. Example: is the model
-- as right on what arrives as it was on its test split, and is it getting worse?
-- Counted from review_comparison. Only the audit sample, read blind, is comparable with the test split's accuracy. Intervals
-- are Wilson's, 95%, each frame for itself.
create view live_accuracy_weekly as
with counted as (
    select
        date_trunc('week', scored_at at time zone 'utc')::date as week_date,
        model_version_id,
        model_name,
        sample,
        is_blind,
        count(*) as count_frame,
        count(*) filter (where is_agreed) as count_agreed
    from review_comparison
    group by week_date, model_version_id, model_name, sample, is_blind
)
select
    counted.week_date,
    counted.model_name,
    counted.sample,
    counted.is_blind,
    counted.count_frame,
    counted.count_agreed,
    counted.count_agreed::double precision / counted.count_frame as agreement,
    wilson_low(counted.count_agreed, counted.count_frame) as agreement_low,
    wilson_high(counted.count_agreed, counted.count_frame) as agreement_high,
    tested.accuracy as test_accuracy
from counted
left join lateral (
    select evaluation.accuracy
    from evaluation
    where evaluation.model_version_id = counted.model_version_id and evaluation.split = 'test'
    order by evaluation.evaluated_at desc, evaluation.evaluation_id desc
    limit 1
) as tested on true;
comment on view live_accuracy_weekly is
    'One row per week of the answer (its Monday, UTC), model, sample and blindness: how often people agreed, beside the accuracy '
    'on the test split. Only the audit sample read blind is comparable. Example: is the model getting worse on what arrives?';
comment on column live_accuracy_weekly.test_accuracy is 'Of the model on its test split, judged last; null where it was not.';
comment on column live_accuracy_weekly.agreement_low is 'Lower end of Wilson''s 95% interval, each frame for itself.';
comment on column live_accuracy_weekly.agreement_high is 'Upper end of Wilson''s 95% interval, each frame for itself.';

-- Predictions of scoring runs by class and tenth of confidence, in frames and in patients. Each patient has weight 1.
-- The file `runs` is the condition that selects the runs.
with run_prediction as (
    select
        prediction.scoring_run_id,
        predicted_class::text as label,
        confidence_bin(confidence)::text as tenth,
        count(*) over (
            partition by
                prediction.scoring_run_id, coalesce(patient_pseudonym, study_pseudonym, 'scan ' || prediction.scan_id)
        ) as count_of_patient
    from prediction
    join scan on scan.scan_id = prediction.scan_id
    join scoring_run on scoring_run.scoring_run_id = prediction.scoring_run_id
    where {% include runs %}
)
select
    label,
    tenth,
    count(*) as count_frame,
    sum(1.0 / count_of_patient)::double precision as people,
    (select count(distinct scoring_run_id) from run_prediction) as count_run
from run_prediction
group by label, tenth

-- Predictions of scoring runs by class and tenth of confidence, in frames and in patients. Each patient has weight 1.
-- The file `runs` is the condition that selects the runs.
with patient_prediction as (
    select
        prediction.scoring_run_id,
        coalesce(patient_pseudonym, study_pseudonym, 'scan ' || prediction.scan_id) as person,
        predicted_class::text as label,
        confidence_bin(confidence)::text as tenth
    from prediction
    join scan on scan.scan_id = prediction.scan_id
    join scoring_run on scoring_run.scoring_run_id = prediction.scoring_run_id
    where {% include runs %}
),
person as (
    select scoring_run_id, person, count(*) as count_frame from patient_prediction group by scoring_run_id, person
)
select
    label,
    tenth,
    count(*) as count_frame,
    sum(1.0 / person.count_frame)::double precision as people,
    (select count(distinct scoring_run_id) from person) as count_run
from patient_prediction
join person using (scoring_run_id, person)
group by label, tenth

-- Patients of each subgroup by day of the run, counted back from the run's day (0), and the numbers with each outcome.
-- A patient counts once a night, with one scan and one frame that a hash draws, because scans of one patient are not independent.
-- Predictions of another model do not count, because a promotion changes them.
with night as (
    select
        night.scoring_run_id,
        (judged.started_at at time zone :timezone)::date - (night.started_at at time zone :timezone)::date as nights_ago
    from scoring_run as judged
    join scoring_run as night
        on night.scans_uri = judged.scans_uri
        and night.kind = 'night'
        and night.scoring_run_id <= judged.scoring_run_id
        and (night.started_at at time zone :timezone)::date
            > (judged.started_at at time zone :timezone)::date - cast(:nights as integer)
    where judged.scoring_run_id = :run
),
drawn as (
    select distinct on (nights_ago, coalesce(patient_pseudonym, study_pseudonym, 'scan ' || scan_id))
        nights_ago, scan_id, scoring_run_id
    from night
    join scan using (scoring_run_id)
    where state in ('scored', 'rejected')
    order by nights_ago, coalesce(patient_pseudonym, study_pseudonym, 'scan ' || scan_id), hashint8(scan_id), scan_id
)
select
    attribute,
    subgroup,
    nights_ago,
    count(*) as count_patient,
    count(*) filter (where state = 'rejected') as rejected,
    count(predicted_class) as count_predicted,
    count(*) filter (where 'out_of_distribution' = any(review_reasons)) as out_of_distribution,
    count(*) filter (where predicted_class = 'glioma') as glioma,
    count(*) filter (where predicted_class = 'meningioma') as meningioma,
    count(*) filter (where predicted_class = 'normal') as normal,
    count(*) filter (where predicted_class = 'pituitary') as pituitary
from drawn
join scan_subgroup using (scan_id)
left join lateral (
    select predicted_class, review_reasons
    from prediction
    where prediction.scan_id = drawn.scan_id
      and prediction.scoring_run_id = drawn.scoring_run_id
      and prediction.model_version_id = :model
    order by hashint4(frame_index), frame_index
    limit 1
) as frame on true
group by attribute, subgroup, nights_ago
order by attribute, subgroup, nights_ago

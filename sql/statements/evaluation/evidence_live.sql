-- The audit sample of a model: scans drawn at random before the model scored them, and their blind reviews.
select
    count(*) as count_drawn,
    count(read.scan_id) as count_read,
    count(*) filter (where read.is_settled) as count_settled,
    (
        select count(distinct finding) from review_comparison
        where model_version_id = :model and sample = 'audit' and is_blind
    ) as count_class
from scan
join scoring_run using (scoring_run_id)
left join (
    select scan_id, bool_or(finding is not null) as is_settled from audit_consensus group by scan_id
) as read using (scan_id)
where scan.audit_probability is not null and scoring_run.model_version_id = :model

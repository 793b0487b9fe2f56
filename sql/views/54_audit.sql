-- audit_review: one row per frame of the audit sample and reviewer: the reviewer's first blind review.
-- Example: which blind reviews were retracted? where is_retracted
-- A later review and a retraction change nothing here, because the reviewer had seen the prediction by then. Repeats are not
-- first reviews.
create view audit_review as
select distinct on (review.scan_id, review.frame_index, review.reviewer)
    review.review_id,
    review.scan_id,
    review.frame_index,
    review.model_version_id,
    review.reviewer,
    review.finding,
    review.purpose,
    exists (select from review_retraction where review_retraction.review_id = review.review_id) as is_retracted,
    review.reviewed_at
from review
join scan using (scan_id)
where scan.audit_probability is not null and review.is_blind and review.purpose <> 'repeat'
order by review.scan_id, review.frame_index, review.reviewer, review.review_id;
comment on view audit_review is
    'One row per frame of the audit sample and reviewer: the first blind review, even if it was retracted or changed '
    'later. Key: scan_id, frame_index, reviewer. Example: which blind reviews were retracted?';
comment on column audit_review.is_retracted is 'Whether the reviewer retracted the review later. It still counts here.';

-- audit_consensus: one row per frame of the audit sample with a blind review. Example: where do blind reviewers disagree?
-- The finding is that of the newest blind adjudication, or else the one that all blind reviews agree on, or else null.
-- cannot_tell is not a finding.
create view audit_consensus as
with grouped as (
    select
        scan_id,
        frame_index,
        count(*) filter (where finding <> 'cannot_tell') as count_reviewer,
        count(distinct finding) filter (where finding <> 'cannot_tell') as count_finding,
        min(finding) filter (where finding <> 'cannot_tell') as one_finding,
        (array_agg(finding order by review_id desc) filter (
            where purpose = 'adjudication' and finding <> 'cannot_tell'))[1] as adjudicated_finding,
        max(reviewed_at) as last_reviewed_at
    from audit_review
    group by scan_id, frame_index
)
select
    scan_id,
    frame_index,
    count_reviewer,
    coalesce(adjudicated_finding, case when count_finding = 1 then one_finding end) as finding,
    last_reviewed_at
from grouped;
comment on view audit_consensus is
    'One row per frame of the audit sample with a blind review: the finding of the first blind reviews. Key: '
    'scan_id, frame_index. Example: where do blind reviewers disagree?';
comment on column audit_consensus.count_reviewer is 'Blind reviewers with a finding.';
comment on column audit_consensus.finding is
    'Finding of the newest blind adjudication, or else of all first blind reviews; null if they differ or none has a '
    'finding.';
comment on column audit_consensus.last_reviewed_at is 'Time of the newest of these reviews.';

-- audit_progress: one row per month (UTC) in which scans of the audit sample arrived. Example: is the audit sample complete?
-- An accuracy from the sample is valid only if most of its scans are read. A scan is read if one of its frames has a blind
-- review. It is settled if the blind reviews of one of its frames give a finding.
create view audit_progress as
select
    date_trunc('month', scan.discovered_at at time zone 'utc')::date as month_date,
    count(*) as count_drawn,
    count(read.scan_id) as count_read,
    count(*) filter (where read.is_settled) as count_settled
from scan
left join (
    select scan_id, bool_or(finding is not null) as is_settled from audit_consensus group by scan_id
) as read using (scan_id)
where scan.audit_probability is not null
group by month_date;
comment on view audit_progress is
    'One row per month (UTC) in which scans of the audit sample arrived: drawn, blindly read and settled scans. Key: '
    'month_date. Example: is the audit sample complete?';
comment on column audit_progress.month_date is 'First day of the month (UTC).';
comment on column audit_progress.count_drawn is 'Scans that were drawn into the audit sample.';
comment on column audit_progress.count_read is 'Of these, scans with at least one blind review.';
comment on column audit_progress.count_settled is
    'Of these, scans whose blind reviews give a finding, including unusable_image.';

-- audit_answer: one row per frame of the audit sample and reviewer: the reviewer's first blind answer.
-- Example: which blind answers were taken back? where is_retracted
-- A later answer and a retraction change nothing here, because the reviewer had seen the model's answer by then. A repeat is
-- not a first answer.
create view audit_answer as
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
comment on view audit_answer is
    'One row per frame of the audit sample and reviewer: the first blind answer, also if it was taken back or changed later. '
    'Example: which blind answers were taken back?';
comment on column audit_answer.model_version_id is 'The model whose answer stood when the page was made.';
comment on column audit_answer.is_retracted is 'The reviewer took the answer back later. It counts here all the same.';

-- audit_verdict: one row per frame of the audit sample that has a blind answer. Example: where do blind readers disagree?
-- The finding is that of the newest blind adjudication, else the one that all blind answers agree on, else null.
-- cannot_tell is no finding.
create view audit_verdict as
with verdict as (
    select
        scan_id,
        frame_index,
        count(*) filter (where finding <> 'cannot_tell') as count_reviewer,
        count(distinct finding) filter (where finding <> 'cannot_tell') as count_finding,
        min(finding) filter (where finding <> 'cannot_tell') as one_finding,
        (array_agg(finding order by review_id desc) filter (
            where purpose = 'adjudication' and finding <> 'cannot_tell'))[1] as adjudicated_finding,
        max(reviewed_at) as last_reviewed_at
    from audit_answer
    group by scan_id, frame_index
)
select
    scan_id,
    frame_index,
    count_reviewer,
    coalesce(adjudicated_finding, case when count_finding = 1 then one_finding end) as finding,
    last_reviewed_at
from verdict;
comment on view audit_verdict is
    'One row per frame of the audit sample that has a blind answer: what the first blind answers say together; finding is null '
    'where they differ or nobody could tell. Example: where do blind readers disagree?';
comment on column audit_verdict.finding is 'What the first blind answers say together; null without one voice.';

-- audit_progress: one row per month (UTC) in which scans of the audit sample arrived. Example: is the sample read to its end?
-- An accuracy from the sample holds only if most of its scans are read. A scan is read when a reviewer gave a blind answer to one
-- of its frames. A scan is settled when the blind answers to one of its frames give a finding.
create view audit_progress as
select
    date_trunc('month', scan.discovered_at at time zone 'utc')::date as month_date,
    count(*) as count_drawn,
    count(read.scan_id) as count_read,
    count(*) filter (where read.is_settled) as count_settled
from scan
left join (
    select scan_id, bool_or(finding is not null) as is_settled from audit_verdict group by scan_id
) as read using (scan_id)
where scan.audit_probability is not null
group by month_date;
comment on view audit_progress is
    'One row per month (UTC) in which scans of the audit sample arrived: how many were drawn, read blind and settled. '
    'Example: is the sample read to its end?';
comment on column audit_progress.month_date is 'First day of the month (UTC).';
comment on column audit_progress.count_drawn is 'Scans that were drawn into the audit sample.';
comment on column audit_progress.count_read is 'Of these, scans with at least one blind answer.';
comment on column audit_progress.count_settled is 'Of these, scans whose blind answers give a finding, unusable_image too.';

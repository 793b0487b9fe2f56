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
        array_agg(finding order by review_id) filter (
            where purpose <> 'adjudication' and finding not in ('cannot_tell', 'unusable_image')) as findings,
        min(reviewed_at) filter (where finding not in ('cannot_tell', 'unusable_image')) as first_finding_at,
        max(reviewed_at) as last_reviewed_at
    from audit_review
    group by scan_id, frame_index
)
select
    scan_id,
    frame_index,
    count_reviewer,
    coalesce(adjudicated_finding, case when count_finding = 1 then one_finding end) as finding,
    findings[1] as first_finding,
    findings[2] as second_finding,
    first_finding_at,
    last_reviewed_at
from grouped;
comment on view audit_consensus is
    'One row per frame of the audit sample with a blind review: the finding of the first blind reviews. Key: '
    'scan_id, frame_index. Example: where do blind reviewers disagree?';
comment on column audit_consensus.count_reviewer is 'Blind reviewers with a finding.';
comment on column audit_consensus.finding is
    'Finding of the newest blind adjudication, or else of all first blind reviews; null if they differ or none has a '
    'finding.';
comment on column audit_consensus.first_finding is
    'Finding of the first blind review with one, whatever others find later. cannot_tell and unusable_image are none.';
comment on column audit_consensus.second_finding is
    'Finding of the second person who read the frame blind, before any adjudication; null without one.';
comment on column audit_consensus.first_finding_at is 'Time of first_finding.';
comment on column audit_consensus.last_reviewed_at is 'Time of the newest of these reviews.';

-- audited_scan: one row per scored scan of the audit sample: its design weight, the prediction of its scoring run and the
-- finding of the first blind review. Example: which audited scans are in conflict? where outcome = 'conflict'
-- The scan of an overwritten file is left out if it was not read, because it can no longer be read.
-- A file of many frames has one row, for the frame of its first blind review. Before a review it is the frame that the review
-- page shows first. The weight of a scan in an estimate is 1 / audit_probability. Scans of one cluster_key are related.
-- A random quarter of the scans is read by two persons, which shows how often reviewers err.
create view audited_scan as
with first_read as (
    select distinct on (scan_id) scan_id, frame_index
    from audit_review
    order by scan_id, review_id
)
select
    scan.scan_id,
    drawn.frame_index,
    scan.scoring_run_id,
    scoring_run.model_version_id,
    model_version.model_name,
    scan.audit_probability,
    scan.patient_pseudonym,
    coalesce(
        scan.patient_pseudonym, scan.study_pseudonym, scan.series_pseudonym, md5(scan.content_sha256), scan.scan_id::text
    ) as cluster_key,
    drawn.predicted_class,
    drawn.confidence,
    drawn.probability_normal,
    case
        when audit_consensus.scan_id is null then 'unread'
        when audit_consensus.finding = 'unusable_image' then 'unusable'
        when audit_consensus.finding is not null then 'settled'
        when audit_consensus.count_reviewer > 0 then 'conflict'
        else 'undecided'
    end as outcome,
    audit_consensus.first_finding as finding,
    audit_consensus.first_finding::text = drawn.predicted_class::text as is_agreed,
    md5(scan.scan_id::text) < '4' as has_two_readers,
    audit_consensus.second_finding,
    scan.processed_at,
    audit_consensus.first_finding_at as found_at,
    audit_consensus.last_reviewed_at as reviewed_at
from scan
join scoring_run using (scoring_run_id)
join model_version using (model_version_id)
left join first_read using (scan_id)
cross join lateral (
    select frame_index, predicted_class, confidence, probability_normal
    from prediction
    where prediction.scan_id = scan.scan_id and prediction.model_version_id = scoring_run.model_version_id
    order by frame_index = first_read.frame_index desc, md5(scan.scan_id || '/' || frame_index)
    limit 1
) as drawn
left join audit_consensus on audit_consensus.scan_id = scan.scan_id and audit_consensus.frame_index = drawn.frame_index
where scan.audit_probability is not null and scan.state = 'scored'
  and not (scan.is_replaced and audit_consensus.scan_id is null);
comment on view audited_scan is
    'One row per scored scan of the audit sample: its design weight, the prediction of its scoring run and the finding '
    'of the first blind review. Key: scan_id. Example: which audited scans are in conflict?';
comment on column audited_scan.frame_index is
    'Frame of the first blind review; before a review, the frame that the review page shows first.';
comment on column audited_scan.scoring_run_id is 'The scoring run that scored the scan.';
comment on column audited_scan.model_version_id is 'Model of that run.';
comment on column audited_scan.model_name is 'Name of that model.';
comment on column audited_scan.cluster_key is
    'Equal for related scans: the pseudonym of the patient, study or series, or else a hash of the file.';
comment on column audited_scan.outcome is
    'settled: the blind reviewers agree, or an adjudication decided. conflict: they disagree. undecided: only '
    'cannot_tell. unusable: unusable_image. unread: no blind review yet.';
comment on column audited_scan.finding is
    'Finding of the first blind review with one, whatever others find later. It counts in all estimates. Null if all '
    'reviews are cannot_tell or unusable_image.';
comment on column audited_scan.is_agreed is
    'Whether finding and predicted class are equal; null without a finding. other_finding agrees with no class.';
comment on column audited_scan.has_two_readers is
    'Whether two persons read the scan blind: a random quarter of the scans, by a hash of scan_id.';
comment on column audited_scan.second_finding is
    'Finding of the second person who read the scan blind, before any adjudication; null without one.';
comment on column audited_scan.found_at is 'Time of finding.';
comment on column audited_scan.processed_at is 'Time when the scan was scored.';
comment on column audited_scan.reviewed_at is 'Time of the newest of these reviews; null without one.';

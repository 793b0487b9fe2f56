-- review_comparison: one row per settled frame and model whose prediction was current at a review: the finding next to the
-- predicted class. Example: where did reviewers correct the model?
-- A frame of the audit sample has the finding of its first blind reviews (audit_consensus), because a reviewer can retract a
-- blind review and then agree with the model. Other frames, and audit frames without such a finding, have that of
-- frame_consensus. For audit frames such a finding never counts as blind.
-- unusable_image is excluded, because no model predicts it. other_finding agrees with no class. A frame is not compared with a
-- model that was trained on it, which can happen after a rescore.
create view review_comparison as
with reviewed as (
    select scan_id, frame_index, model_version_id from current_review
    union
    select scan_id, frame_index, model_version_id from audit_review
),
settled as (
    select scan_id, frame_index, finding, true as is_blind, count_reviewer, last_reviewed_at
    from audit_consensus
    where finding is not null
    union all
    select
        frame_consensus.scan_id,
        frame_consensus.frame_index,
        frame_consensus.finding,
        frame_consensus.is_blind and scan.audit_probability is null,
        frame_consensus.count_reviewer,
        frame_consensus.last_reviewed_at
    from frame_consensus
    join scan using (scan_id)
    left join audit_consensus using (scan_id, frame_index)
    where audit_consensus.finding is null
)
select
    settled.scan_id,
    settled.frame_index,
    reviewed.model_version_id,
    model_version.model_name,
    case when scan.audit_probability is null then 'worklist' else 'audit' end as sample,
    settled.is_blind,
    prediction.predicted_class,
    settled.finding,
    settled.finding::text = prediction.predicted_class::text as is_agreed,
    prediction.confidence,
    settled.count_reviewer,
    prediction.scored_at,
    settled.last_reviewed_at as reviewed_at
from settled
join reviewed using (scan_id, frame_index)
join prediction using (scan_id, frame_index, model_version_id)
join scan using (scan_id)
join model_version using (model_version_id)
where settled.finding <> 'unusable_image'
  and not exists (
    select
    from snapshot_review
    join training_run using (snapshot_id)
    where training_run.training_run_id = model_version.training_run_id
      and snapshot_review.scan_id = settled.scan_id
      and snapshot_review.frame_index = settled.frame_index
      and snapshot_review.reason is null
  );
comment on view review_comparison is
    'One row per settled frame and model whose prediction was current at a review: the finding next to the predicted '
    'class. Key: scan_id, frame_index, model_version_id. Example: where did reviewers correct the model?';
comment on column review_comparison.model_version_id is 'The compared model.';
comment on column review_comparison.model_name is 'Name of the compared model.';
comment on column review_comparison.sample is
    'audit if the scan was drawn at random before it was scored, else worklist.';
comment on column review_comparison.is_blind is
    'Whether the page hid the model''s prediction from every reviewer with a finding.';
comment on column review_comparison.predicted_class is 'Class predicted by the compared model.';
comment on column review_comparison.finding is 'Finding of the reviewers for the frame.';
comment on column review_comparison.is_agreed is
    'Whether finding and predicted class are equal. other_finding agrees with no class.';
comment on column review_comparison.count_reviewer is 'Reviewers with a finding.';
comment on column review_comparison.reviewed_at is 'Time of the newest review that counts.';

-- time_to_review: one row per frame with a prediction. Example: how long does a predicted tumor wait for a reviewer?
-- scored_at is the time of the first prediction, reviewed_at of the first review that was not retracted. A file that was
-- overwritten before a review is left out.
create view time_to_review as
select
    prediction.scan_id,
    prediction.frame_index,
    model_version.model_name,
    prediction.predicted_class,
    prediction.risk_rank as risk_rank_at_scoring,
    scan.arrived_at,
    prediction.scored_at,
    first_review.reviewed_at,
    prediction.scored_at - scan.arrived_at as arrival_to_score,
    first_review.reviewed_at - prediction.scored_at as score_to_review,
    first_review.reviewed_at - scan.arrived_at as arrival_to_review
from prediction
join scan using (scan_id)
join model_version using (model_version_id)
left join (
    select review.scan_id, review.frame_index, min(review.reviewed_at) as reviewed_at
    from review
    where not exists (select from review_retraction where review_retraction.review_id = review.review_id)
    group by review.scan_id, review.frame_index
) as first_review using (scan_id, frame_index)
where (first_review.reviewed_at is not null or not scan.is_replaced) and not exists (
    select from prediction as earlier
    where earlier.scan_id = prediction.scan_id
      and earlier.frame_index = prediction.frame_index
      and (earlier.scored_at, earlier.model_version_id) < (prediction.scored_at, prediction.model_version_id)
);
comment on view time_to_review is
    'One row per frame with a prediction: arrival, first prediction, first review, and the times between. Key: '
    'scan_id, frame_index. Example: how long does a predicted tumor wait for a reviewer?';
comment on column time_to_review.model_name is 'Model of the first prediction.';
comment on column time_to_review.predicted_class is 'Class of the first prediction.';
comment on column time_to_review.risk_rank_at_scoring is
    'Rank on the worklist by the reasons written at scoring: 3, 5 to 9.';
comment on column time_to_review.scored_at is 'Time of the first prediction.';
comment on column time_to_review.reviewed_at is 'Time of the first review that was not retracted; null before.';
comment on column time_to_review.arrival_to_score is
    'Time from the object''s last write in S3 to the first prediction.';
comment on column time_to_review.score_to_review is
    'Time from the first prediction to the first review; null before it.';
comment on column time_to_review.arrival_to_review is
    'Time from the object''s last write in S3 to the first review; null before it.';

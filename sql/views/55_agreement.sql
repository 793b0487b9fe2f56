-- review_comparison: one row per frame that people settled and model whose answer stood when somebody answered: people's
-- finding beside the model's class. Example: where did people correct the model?
-- A frame of the audit sample has the finding of its first blind answers (audit_verdict), because a reviewer can take back a
-- blind answer and then agree with the model. Where these give no finding, and of any other frame, the finding is that of
-- frame_consensus; in the audit sample such a finding never counts as blind.
-- unusable_image is no finding of the kind that a model could name, and in no row; other_finding agrees with no class. Nor is
-- a frame beside a model that was trained on it (which can answer it in a rescore): it has been told.
-- sample: audit where the scan was drawn at random before it was scored, worklist where it was not. is_blind: nobody had the
-- model's answer on the screen.
create view review_comparison as
with answered as (
    select scan_id, frame_index, model_version_id from current_review
    union
    select scan_id, frame_index, model_version_id from audit_answer
),
verdict as (
    select scan_id, frame_index, finding, true as is_blind, count_reviewer, last_reviewed_at
    from audit_verdict
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
    left join audit_verdict using (scan_id, frame_index)
    where audit_verdict.finding is null
)
select
    verdict.scan_id,
    verdict.frame_index,
    answered.model_version_id,
    model_version.model_name,
    case when scan.audit_probability is null then 'worklist' else 'audit' end as sample,
    verdict.is_blind,
    prediction.predicted_class,
    verdict.finding,
    verdict.finding::text = prediction.predicted_class::text as is_agreed,
    prediction.confidence,
    verdict.count_reviewer,
    prediction.scored_at,
    verdict.last_reviewed_at as reviewed_at
from verdict
join answered using (scan_id, frame_index)
join prediction using (scan_id, frame_index, model_version_id)
join scan using (scan_id)
join model_version using (model_version_id)
where verdict.finding <> 'unusable_image'
  and not exists (
    select
    from snapshot_review
    join training_run using (snapshot_id)
    where training_run.training_run_id = model_version.training_run_id
      and snapshot_review.scan_id = verdict.scan_id
      and snapshot_review.frame_index = verdict.frame_index
      and snapshot_review.reason is null
  );
comment on view review_comparison is
    'One row per frame that people settled and model whose answer stood when somebody answered: their finding beside its class. '
    'Example: where did people correct the model?';
comment on column review_comparison.sample is
    'audit where the scan was drawn at random before it was scored, else worklist.';
comment on column review_comparison.is_agreed is 'other_finding agrees with no class.';

-- human_agreement: one row per model, sample, blindness and class that the model named, and one for all classes (null).
-- Example: how often do people who did not see the answer agree with "normal" on the random sample, and between which shares?
-- Counted from review_comparison: frames in conflict, unusable_image and cannot_tell count nowhere. Only the audit sample says
-- how the model does in general, and only once its frames are read, not some of them. Intervals are Wilson's, 95%, and take
-- each frame for itself: where count_scan is far below count_frame, frames of one volume make them too narrow.
create view human_agreement as
with counted as (
    select
        model_name,
        sample,
        is_blind,
        predicted_class,
        count(distinct scan_id) as count_scan,
        count(*) as count_frame,
        count(*) filter (where is_agreed) as count_agreed
    from review_comparison
    group by grouping sets ((model_name, sample, is_blind), (model_name, sample, is_blind, predicted_class))
)
select
    model_name,
    sample,
    is_blind,
    predicted_class,
    count_scan,
    count_frame,
    count_agreed,
    count_agreed::double precision / count_frame as agreement,
    wilson_low(count_agreed, count_frame) as agreement_low,
    wilson_high(count_agreed, count_frame) as agreement_high
from counted;
comment on view human_agreement is
    'One row per model, sample (audit, worklist), blindness and class that the model named; class null for all. Only the audit '
    'sample says how the model does in general. Example: how often do people agree with "normal" on the audit sample, unseen?';
comment on column human_agreement.predicted_class is 'What the model named; null for all classes together.';
comment on column human_agreement.agreement_low is 'Lower end of Wilson''s 95% interval, each frame for itself.';
comment on column human_agreement.agreement_high is 'Upper end of Wilson''s 95% interval, each frame for itself.';

-- time_to_review: one row per frame that has an answer. Example: how long does a tumor wait for a person, and for the night?
-- scored_at is of the first answer, reviewed_at of the first one of a person that was not taken back; null while nobody looked.
create view time_to_review as
select
    prediction.scan_id,
    prediction.frame_index,
    model_version.model_name,
    prediction.predicted_class,
    prediction.risk_rank as risk_rank_at_scoring,
    scan.arrived_at,
    prediction.scored_at,
    accessed_at.reviewed_at,
    prediction.scored_at - scan.arrived_at as arrival_to_score,
    accessed_at.reviewed_at - prediction.scored_at as score_to_review,
    accessed_at.reviewed_at - scan.arrived_at as arrival_to_review
from prediction
join scan using (scan_id)
join model_version using (model_version_id)
left join (
    select review.scan_id, review.frame_index, min(review.reviewed_at) as reviewed_at
    from review
    where not exists (select from review_retraction where review_retraction.review_id = review.review_id)
    group by review.scan_id, review.frame_index
) as accessed_at using (scan_id, frame_index)
where not exists (
    select from prediction as earlier
    where earlier.scan_id = prediction.scan_id
      and earlier.frame_index = prediction.frame_index
      and (earlier.scored_at, earlier.model_version_id) < (prediction.scored_at, prediction.model_version_id)
);
comment on view time_to_review is
    'One row per frame that has an answer: when it arrived, when it was first scored and first seen by a person, and the times '
    'between; null while nobody looked. Example: how long does a tumor wait for a person?';

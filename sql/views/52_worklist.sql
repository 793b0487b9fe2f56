-- frame_consensus: one row per frame with a review. Example: which finding do reviewers agree on for frame 3 of scan 17?
-- The finding is that of the newest adjudication, or else the one that all reviewers agree on, or else null (a conflict).
-- cannot_tell is not a finding. A frame with a finding, including unusable_image, is settled.
create view frame_consensus as
with grouped as (
    select
        scan_id,
        frame_index,
        count(*) filter (where finding <> 'cannot_tell') as count_reviewer,
        count(distinct finding) filter (where finding <> 'cannot_tell') as count_finding,
        min(finding) filter (where finding <> 'cannot_tell') as one_finding,
        (array_agg(finding order by review_id desc) filter (
            where purpose = 'adjudication' and finding <> 'cannot_tell'))[1] as adjudicated_finding,
        bool_and(is_blind) filter (where finding <> 'cannot_tell') as is_blind,
        min(reviewed_at) as first_reviewed_at,
        max(reviewed_at) as last_reviewed_at
    from current_review
    group by scan_id, frame_index
)
select
    scan_id,
    frame_index,
    count_reviewer,
    coalesce(adjudicated_finding, case when count_finding = 1 then one_finding end) as finding,
    adjudicated_finding is not null as is_adjudicated,
    adjudicated_finding is null and count_finding > 1 as is_conflict,
    adjudicated_finding is not null or count_finding = 1 as is_settled,
    is_blind,
    first_reviewed_at,
    last_reviewed_at
from grouped;
comment on view frame_consensus is
    'One row per frame with a review: the finding of the newest adjudication, or else the one that all reviewers '
    'agree on, or else null. cannot_tell is not a finding. Key: scan_id, frame_index. Example: on which frames do '
    'reviewers disagree? where is_conflict.';
comment on column frame_consensus.count_reviewer is 'Reviewers with a finding.';
comment on column frame_consensus.finding is
    'Finding of the newest adjudication, or else of all reviewers; null in a conflict and without a finding.';
comment on column frame_consensus.is_adjudicated is 'Whether the finding is that of an adjudication.';
comment on column frame_consensus.is_conflict is 'Whether reviewers disagree and no adjudication decided.';
comment on column frame_consensus.is_settled is 'Whether the frame has a finding.';
comment on column frame_consensus.is_blind is
    'Whether the page hid the model''s prediction from every reviewer with a finding.';
comment on column frame_consensus.first_reviewed_at is 'Time of the oldest of the reviewers'' current reviews.';
comment on column frame_consensus.last_reviewed_at is 'Time of the newest of the reviewers'' current reviews.';

-- review_worklist: one row per frame that waits for a review. Example: which frame is reviewed next?
-- A frame leaves it when reviewers settle it, or judge another frame of the same scan. A frame in conflict stays. To judge is
-- to give a finding other than cannot_tell and unusable_image.
-- Order by risk_rank, risk_rank_at_scoring, confidence; 1 is first. Only a review removes a frame, including a predicted normal
-- ("none of the three tumors"), which ranks last. risk names the rank:
-- 1 same_content_other_patient, 2 reviewers_disagree, 3 out_of_distribution, 4 model_withdrawn, 5 model_disagreement,
-- 6 several_classes, 7 no_likely_class, 8 tumor, 9 normal. worklist_page is faster for the first rows of many.
create view review_worklist as
select
    current_prediction.scan_id,
    current_prediction.frame_index,
    current_prediction.model_version_id,
    current_prediction.scoring_run_id,
    ranked.risk_rank,
    current_prediction.risk_rank_at_scoring,
    (array[
        'same_content_other_patient', 'reviewers_disagree', 'out_of_distribution', 'model_withdrawn', 'model_disagreement',
        'several_classes', 'no_likely_class', 'tumor', 'normal'])[ranked.risk_rank] as risk,
    current_prediction.review_reasons,
    current_prediction.is_conflict,
    current_prediction.predicted_class,
    current_prediction.confidence,
    current_prediction.margin,
    current_prediction.probability_glioma,
    current_prediction.probability_meningioma,
    current_prediction.probability_normal,
    current_prediction.probability_pituitary,
    current_prediction.prediction_set,
    current_prediction.out_of_distribution,
    current_prediction.second_class,
    current_prediction.second_confidence,
    current_prediction.model_name,
    current_prediction.study_pseudonym,
    current_prediction.series_pseudonym,
    current_prediction.format,
    current_prediction.arrived_at,
    current_prediction.scored_at,
    current_prediction.is_scan_judged
from current_prediction
cross join lateral (
    select
        case
            when 'same_content_other_patient' = any(current_prediction.review_reasons) then 1
            when current_prediction.is_conflict then 2
            when risk_rank_at_scoring > 4 and 'model_withdrawn' = any(current_prediction.review_reasons) then 4
            else risk_rank_at_scoring
        end as risk_rank
) as ranked
where not current_prediction.is_settled and (current_prediction.is_conflict or not current_prediction.is_scan_judged);
comment on view review_worklist is
    'One row per frame that waits for a review: reviewers have not settled it, and have not judged another frame '
    'of its scan, or they disagree about it. Order by risk_rank, risk_rank_at_scoring, confidence. For review, '
    'not for diagnosis. Key: scan_id, frame_index. Example: which frame is reviewed next?';
comment on column review_worklist.risk_rank is
    '1 same_content_other_patient, 2 reviewers_disagree, 3 out_of_distribution, 4 model_withdrawn, 5 '
    'model_disagreement, 6 several_classes, 7 no_likely_class, 8 tumor, 9 normal.';
comment on column review_worklist.risk_rank_at_scoring is
    'Like risk_rank, by the reasons written at scoring: 3, 5 to 9.';
comment on column review_worklist.risk is 'Name of the rank.';
comment on column review_worklist.review_reasons is
    'Reasons for a review, as written at scoring, plus model_withdrawn and same_content_other_patient as of now; '
    'empty without one.';
comment on column review_worklist.is_conflict is 'Whether reviewers disagree about the frame, by frame_consensus.';
comment on column review_worklist.is_scan_judged is
    'Whether a reviewer has judged a frame of the scan. On the worklist only frames in conflict have such a scan.';

-- worklist_page(count, date, class, model, reason, tumor): the first rows of review_worklist in its order, filtered by
-- scoring date (UTC), class, model, review reason or lowest tumor probability. Example: which are the first 50 of ten million
-- frames? select * from worklist_page(50)
-- It takes the first rows of each model from an index, adds the few frames whose rank depends on other rows, and sorts. The
-- lateral joins keep Postgres from reading every prediction. Runs with the rights of its owner, and shows only rows of the view.
create function worklist_page(
    page_size integer, of_night date default null, of_class text default null, of_model text default null,
    of_reason text default null, of_tumor double precision default null
)
returns setof review_worklist language sql stable security definer
set search_path = braintumor, pg_temp as $$
    with candidate as (
        select first_of_model.*
        from model_status
        cross join lateral (
            select review_worklist.*
            from review_worklist
            where review_worklist.model_version_id = model_status.model_version_id
              and not review_worklist.is_scan_judged  -- frames in conflict are in the third part
              and (of_night is null or (review_worklist.scored_at at time zone 'utc')::date = of_night)
              and (of_class is null or review_worklist.predicted_class::text = of_class)
              and (of_reason is null or of_reason = any(review_worklist.review_reasons))
              and (of_tumor is null or 1 - review_worklist.probability_normal >= of_tumor)
            order by risk_rank_at_scoring, confidence
            limit page_size
        ) as first_of_model
        where of_model is null or model_status.model_name = of_model
        union
        select first_of_scan.*
        from cross_patient_duplicate
        cross join lateral (
            select review_worklist.*
            from review_worklist
            where review_worklist.scan_id = cross_patient_duplicate.scan_id
              and (of_night is null or (review_worklist.scored_at at time zone 'utc')::date = of_night)
              and (of_class is null or review_worklist.predicted_class::text = of_class)
              and (of_model is null or review_worklist.model_name = of_model)
              and (of_reason is null or of_reason = any(review_worklist.review_reasons))
              and (of_tumor is null or 1 - review_worklist.probability_normal >= of_tumor)
            order by risk_rank_at_scoring, confidence
            limit page_size
        ) as first_of_scan
        union
        select of_frame.*
        from (select distinct scan_id, frame_index from prediction where is_conflict) as conflict
        cross join lateral (
            select review_worklist.*
            from review_worklist
            where review_worklist.scan_id = conflict.scan_id and review_worklist.frame_index = conflict.frame_index
            limit 1
        ) as of_frame
    )
    select *
    from candidate
    where (of_night is null or (scored_at at time zone 'utc')::date = of_night)
      and (of_class is null or predicted_class::text = of_class)
      and (of_model is null or model_name = of_model)
      and (of_reason is null or of_reason = any(review_reasons))
      and (of_tumor is null or 1 - probability_normal >= of_tumor)
    order by risk_rank, risk_rank_at_scoring, confidence, scan_id, frame_index
    limit page_size
$$;
comment on function worklist_page(integer, date, text, text, text, double precision) is
    'The first rows of review_worklist in its order, quickly, filtered by scoring date (UTC), class, model, review '
    'reason or lowest tumor probability (1 minus the probability of normal).';

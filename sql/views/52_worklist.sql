-- frame_consensus: one row per frame that somebody answered. Example: what do people say of frame 3 of scan 17, with one voice?
-- The finding is that of the newest adjudication, else the one that all who answered agree on, else null: in conflict.
-- cannot_tell is no finding. A frame with a finding, unusable_image too, is settled.
create view frame_consensus as
with verdict as (
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
from verdict;
comment on view frame_consensus is
    'One row per frame that somebody answered: the finding of the newest adjudication, else the one that all agree on, else '
    'null. cannot_tell is no finding. Example: which frames do people see differently? where is_conflict.';
comment on column frame_consensus.is_blind is 'Nobody who gave a finding had the model''s answer on the screen.';

-- review_worklist: one row per frame whose standing answer no person has settled. Example: what should I look at first?
-- Order by risk_rank, risk_rank_at_scoring, confidence; 1 first. A frame leaves only by a person: one that the model calls normal
-- too ("none of the three tumors"), last in rank, and one that a newer model answers otherwise. risk names the rank:
-- 1 same_content_other_patient, 2 reviewers_disagree, 3 out_of_distribution, 4 model_withdrawn, 5 model_disagreement,
-- 6 near_tie, 7 low_confidence, 8 tumor, 9 normal. One page of very many rows: worklist_page.
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
        'near_tie', 'low_confidence', 'tumor', 'normal'])[ranked.risk_rank] as risk,
    current_prediction.review_reasons,
    current_prediction.is_conflict,
    current_prediction.predicted_class,
    current_prediction.confidence,
    current_prediction.margin,
    current_prediction.probability_glioma,
    current_prediction.probability_meningioma,
    current_prediction.probability_normal,
    current_prediction.probability_pituitary,
    current_prediction.out_of_distribution,
    current_prediction.second_class,
    current_prediction.second_confidence,
    current_prediction.model_name,
    current_prediction.study_pseudonym,
    current_prediction.series_pseudonym,
    current_prediction.format,
    current_prediction.arrived_at,
    current_prediction.scored_at
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
where not current_prediction.is_settled;
comment on view review_worklist is
    'One row per frame whose standing answer no person has settled; order by risk_rank, risk_rank_at_scoring, confidence. A normal '
    '(none of the three tumors) leaves only by a person. Example: what should I look at first? For review, not for diagnosis.';
comment on column review_worklist.risk_rank is
    '1 same_content_other_patient, 2 reviewers_disagree, 3 out_of_distribution, 4 model_withdrawn, 5 model_disagreement, '
    '6 near_tie, 7 low_confidence, 8 tumor, 9 normal.';
comment on column review_worklist.risk_rank_at_scoring is 'The same by the reasons that were written with the answer: 3, 5 to 9.';

-- worklist_page(count, night, class, model, reason): the first rows of review_worklist, in its order, of one day (UTC), class,
-- model or review reason where these are named. Example: the first 50 of ten million? select * from worklist_page(50)
-- It takes the first of each model from an index, and the few that only other rows make risky, and sorts these. The lateral
-- joins keep Postgres from reading every answer for those few. Run with its owner's rights: it says nothing that the view does
-- not.
create function worklist_page(
    page_size integer, of_night date default null, of_class text default null, of_model text default null,
    of_reason text default null
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
              and (of_night is null or (review_worklist.scored_at at time zone 'utc')::date = of_night)
              and (of_class is null or review_worklist.predicted_class::text = of_class)
              and (of_reason is null or of_reason = any(review_worklist.review_reasons))
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
    order by risk_rank, risk_rank_at_scoring, confidence, scan_id, frame_index
    limit page_size
$$;
comment on function worklist_page(integer, date, text, text, text) is
    'The first rows of review_worklist in its order, quickly; of one day (UTC), class, model or reason where named.';

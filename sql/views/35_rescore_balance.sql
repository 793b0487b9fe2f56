-- rescore_outcome: one row per rescore and scan that it was asked for. Example: which scans have another model's answer
-- since Tuesday, and whose stood before? Answers count where every frame has one.
create view rescore_outcome as
with evidence as (
    select
        rescore.scoring_run_id,
        rescore.scan_id,
        rescore.before_model_version_id,
        scoring_run.model_version_id,
        rescore.state,
        rescore.processed_at,
        (select count(*) from prediction
         where prediction.scan_id = rescore.scan_id and prediction.model_version_id = scoring_run.model_version_id)
            = scan.count_frame as has_every_frame
    from rescore
    join scoring_run using (scoring_run_id)
    join scan using (scan_id)
)
select
    evidence.scoring_run_id,
    evidence.scan_id,
    before_model.model_name as before_model_name,
    model_version.model_name,
    case
        when evidence.state = 'pending' then 'unaccounted'
        when evidence.state in ('rescored', 'already_scored') and has_every_frame is not true then 'unaccounted'
        else evidence.state::text
    end as outcome,
    evidence.processed_at
from evidence
join model_version using (model_version_id)
join model_version as before_model on before_model.model_version_id = evidence.before_model_version_id;

-- rescore_balance: one row per rescore, counted afresh from the rows. Example: who asked for which rescore, and did it
-- come to every scan?
create view rescore_balance as
select
    rescore_run.scoring_run_id,
    scoring_run.run_key,
    model_version.model_name,
    rescore_run.is_champion,
    rescore_run.actor,
    rescore_run.reason,
    rescore_run.count_matching,
    rescore_run.count_asked,
    count(*) filter (where outcome = 'rescored') as count_rescored,
    count(*) filter (where outcome = 'already_scored') as count_already_scored,
    count(*) filter (where outcome = 'gone') as count_gone,
    count(*) filter (where outcome = 'refused') as count_refused,
    count(*) filter (where outcome = 'unreadable') as count_unreadable,
    count(*) filter (where outcome = 'failed') as count_failed,
    coalesce(erased.count_erased, 0) as count_erased,
    rescore_run.count_asked - count(*) filter (where outcome <> 'unaccounted') - coalesce(erased.count_erased, 0)
        as count_unaccounted,
    rescore_run.asked_at
from rescore_run
join scoring_run using (scoring_run_id)
join model_version using (model_version_id)
left join rescore_outcome using (scoring_run_id)
left join (
    select scoring_run_id, sum(count_rescore) as count_erased from erasure_run group by scoring_run_id
) as erased using (scoring_run_id)
group by rescore_run.scoring_run_id, scoring_run.scoring_run_id, model_version.model_version_id, erased.count_erased;

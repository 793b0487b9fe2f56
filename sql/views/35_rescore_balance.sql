-- rescore_outcome: one row per rescore and scan, except erased ones. Example: which scans were rescored since Tuesday, and which
-- model's prediction was current before? A scan counts only with predictions of all frames.
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
comment on view rescore_outcome is
    'One row per rescore and scan, except erased ones, with its outcome. Key: scoring_run_id, scan_id. Example: '
    'which scans were rescored since Tuesday?';
comment on column rescore_outcome.scoring_run_id is 'The rescore.';
comment on column rescore_outcome.scan_id is 'The scan.';
comment on column rescore_outcome.before_model_name is 'Model of the current prediction at the request.';
comment on column rescore_outcome.model_name is 'Model of the rescore.';
comment on column rescore_outcome.outcome is
    'rescored, already_scored, gone, refused, unreadable or failed; unaccounted if the rows do not confirm an '
    'outcome.';
comment on column rescore_outcome.processed_at is 'Time when the rescore processed the scan; null while it is pending.';

-- rescore_balance: one row per rescore, counted from the rows at each query. Example: does every rescore account
-- for all its scans?
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
comment on view rescore_balance is
    'One row per rescore, counted from the rows at each query. Key: scoring_run_id. Example: does every rescore '
    'account for all its scans?';
comment on column rescore_balance.scoring_run_id is 'The rescore.';
comment on column rescore_balance.run_key is 'Name of the DAG run or command.';
comment on column rescore_balance.model_name is 'Model of the rescore.';
comment on column rescore_balance.count_rescored is 'Scans with new predictions of all frames.';
comment on column rescore_balance.count_already_scored is
    'Scans that the model had predicted before. That prediction is current again.';
comment on column rescore_balance.count_gone is 'Scans whose object was removed or overwritten.';
comment on column rescore_balance.count_refused is 'Scans that S3 refused.';
comment on column rescore_balance.count_unreadable is 'Scans that do not decode any more.';
comment on column rescore_balance.count_failed is 'Scans that crashed three workers.';
comment on column rescore_balance.count_erased is 'Scans whose rows were erased later with their patient.';
comment on column rescore_balance.count_unaccounted is
    'Scans without a confirmed outcome. More than 0 makes the run status red.';

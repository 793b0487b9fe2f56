-- scoring_run_object_outcome: one row per object that a scoring run listed, except erased ones. Example: which scans of the last
-- run are unaccounted?
-- scan_outcome has the outcome that the run stored. Rows of prediction and rejection must confirm it. A scored scan has a
-- prediction of every frame from its scoring run, and from each rescore that scored it.
create view scoring_run_object_outcome as
with evidence as (
    select
        scoring_run_object.scoring_run_id,
        scoring_run_object.scan_id,
        scoring_run_object.is_known,
        scan.state,
        coalesce(scan_outcome.outcome, case
            when scan.state = 'pending' and scan.scoring_run_id = scoring_run_object.scoring_run_id
                and scan.chunk_number is not null then 'unaccounted'
            when scoring_run_object.is_known or scoring_run.state = 'balanced' then 'known'
            when scan.state = 'pending' and scoring_run.planned_at is null then 'unaccounted'
            when scan.state = 'pending' then 'deferred'
            else 'known'
        end) as outcome,
        exists (
            select from rejection
            where rejection.scan_id = scan.scan_id and rejection.scoring_run_id = scoring_run_object.scoring_run_id
        ) as has_own_rejection,
        exists (select from rejection where rejection.scan_id = scan.scan_id) as has_rejection,
        (select count(*) from prediction where prediction.scan_id = scan.scan_id)
            = scan.count_frame * (1 + (
                select count(*) from rescore where rescore.scan_id = scan.scan_id and rescore.state = 'rescored'
            )) as has_every_frame
    from scoring_run_object
    join scoring_run using (scoring_run_id)
    join scan using (scan_id)
    left join scan_outcome
        on scan_outcome.scoring_run_id = scoring_run_object.scoring_run_id and scan_outcome.scan_id = scoring_run_object.scan_id
)
select
    scoring_run_id,
    scan_id,
    case
        when outcome = 'scored' and (state <> 'scored' or has_every_frame is not true) then 'unaccounted'
        when outcome = 'rejected' and not has_own_rejection then 'unaccounted'
        when outcome = 'known' and state = 'scored' and has_every_frame is not true then 'unaccounted'
        when outcome = 'known' and state = 'rejected' and not has_rejection then 'unaccounted'
        else outcome
    end as outcome,
    is_known
from evidence;
comment on view scoring_run_object_outcome is
    'One row per object that a scoring run listed, except erased ones, with its outcome. Key: scoring_run_id, '
    'scan_id. Example: which scans of the last run are unaccounted?';
comment on column scoring_run_object_outcome.scoring_run_id is 'The scoring run.';
comment on column scoring_run_object_outcome.scan_id is 'The scan.';
comment on column scoring_run_object_outcome.outcome is
    'scored, rejected, ignored, superseded or deferred by this run; known if another run processed it; unaccounted if '
    'the rows do not confirm an outcome.';
comment on column scoring_run_object_outcome.is_known is
    'Whether an earlier run had processed the scan when this run listed it. Null if it was not recorded.';

-- scoring_run_balance: one row per scoring run, counted from the rows at each query. Example: does every run still balance?
create view scoring_run_balance as
select
    scoring_run.scoring_run_id,
    scoring_run.run_key,
    scoring_run.started_at,
    scoring_run.count_seen,
    count(*) filter (where outcome = 'scored') as count_scored,
    count(*) filter (where outcome = 'known') as count_known,
    count(*) filter (where outcome = 'rejected') as count_rejected,
    count(*) filter (where outcome = 'ignored') as count_ignored,
    count(*) filter (where outcome = 'deferred') as count_deferred,
    count(*) filter (where outcome = 'superseded') as count_superseded,
    coalesce(erased.count_erased, 0) as count_erased,
    scoring_run.count_seen - count(*) filter (where outcome <> 'unaccounted') - coalesce(erased.count_erased, 0)
        as count_unaccounted
from scoring_run
left join scoring_run_object_outcome using (scoring_run_id)
left join (
    select scoring_run_id, sum(count_object) as count_erased from erasure_run group by scoring_run_id
) as erased using (scoring_run_id)
where scoring_run.kind = 'night'
group by scoring_run.scoring_run_id, erased.count_erased;
comment on view scoring_run_balance is
    'One row per scoring run, counted from the rows at each query. Key: scoring_run_id. Example: does every run '
    'still balance?';
comment on column scoring_run_balance.scoring_run_id is 'The scoring run.';
comment on column scoring_run_balance.run_key is 'Name of the DAG run or command.';
comment on column scoring_run_balance.started_at is 'Start of the scoring run.';
comment on column scoring_run_balance.count_seen is
    'Objects under the prefixes, counted by the lister and stored before scoring starts.';
comment on column scoring_run_balance.count_scored is 'Objects scored in this run.';
comment on column scoring_run_balance.count_known is 'Objects processed by another run first.';
comment on column scoring_run_balance.count_rejected is 'Objects rejected in this run.';
comment on column scoring_run_balance.count_ignored is 'Objects that are no scans by rule.';
comment on column scoring_run_balance.count_deferred is 'Objects deferred to a later run.';
comment on column scoring_run_balance.count_superseded is 'Objects overwritten or removed after they were listed.';
comment on column scoring_run_balance.count_erased is 'Listed objects whose rows were erased later with their patient.';
comment on column scoring_run_balance.count_unaccounted is
    'Listed objects without a confirmed outcome. More than 0 makes the run status red.';

-- run_status: one row per scoring run with a status. Example: which of the last runs were not green, and why?
create view run_status as
select
    scoring_run_id,
    scoring_run.started_at,
    level,
    count_arrived,
    count_expected,
    reasons,
    judged_at
from scoring_run_summary
join scoring_run using (scoring_run_id);
comment on view run_status is
    'One row per scoring run with a status: its level and the reasons. Key: scoring_run_id. Example: which of the '
    'last runs were not green, and why?';
comment on column run_status.scoring_run_id is 'The scoring run.';

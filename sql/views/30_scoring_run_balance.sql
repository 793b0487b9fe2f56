-- scoring_run_object_outcome: one row per object that a night saw. Example: which scans did last night leave unaccounted?
-- scan_outcome has what the night itself settled or left. The rows of predictions and rejections must still confirm it.
-- A scored scan has every frame's answer of its night, and of each rescore that answered it.
create view scoring_run_object_outcome as
with evidence as (
    select
        scoring_run_object.scoring_run_id,
        scoring_run_object.scan_id,
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
    end as outcome
from evidence;

-- scoring_run_balance: one row per night, counted afresh from the rows. Example: does every night still balance?
create view scoring_run_balance as
select
    scoring_run.scoring_run_id,
    scoring_run.run_key,
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

-- run_status: one row per night that was judged. Example: which of the last nights were not green, and why?
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
    'One row per night that was judged: how it went, and why it is not green. Example: which nights were not green, and why?';

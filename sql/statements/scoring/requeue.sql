-- Makes rejected scans with one reason pending again, if their file was not overwritten, and records the person who requested it.
with reopened as (
    update scan
    set state = 'pending', processed_at = null, chunk_number = null, isolated_attempts = 0
    from rejection
    where rejection.scan_id = scan.scan_id
      and rejection.scoring_run_id = scan.scoring_run_id
      and scan.state = 'rejected'
      and not scan.is_replaced
      and rejection.reason = :reason
      and rejection.rejected_at >= coalesce(cast(:since as timestamptz), '-infinity')
    returning scan.scan_id, scan.scoring_run_id
)
insert into scan_requeue (scan_id, scoring_run_id, reason, actor)
select scan_id, scoring_run_id, :reason, :actor from reopened

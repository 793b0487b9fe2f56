-- Sets listed scans back to pending if they were superseded, or if S3 refused their object.
update scan
set state = 'pending', processed_at = null, scoring_run_id = :run, chunk_number = null, isolated_attempts = 0
from seen
where scan.scan_id = seen.scan_id
  and not seen.is_new
  and (scan.state = 'superseded' or scan.state = 'rejected' and exists (
        select from rejection
        where rejection.scan_id = scan.scan_id
          and rejection.scoring_run_id = scan.scoring_run_id
          and rejection.reason = :refused))

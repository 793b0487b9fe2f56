-- Sets pending scans to superseded if their object no longer exists. Leaves scans that a worker processes or that a
-- newer listing has.
update scan
set state = 'superseded', processed_at = clock_timestamp(), scoring_run_id = :run, chunk_number = null
from scan_location
where scan_location.scan_id = scan.scan_id
  and scan.state = 'pending'
  and scan.scan_id in (select scan_id from waiting_before)
  and not exists (
    select from scoring_run as newer
    join scoring_run_object as object
        on object.scoring_run_id = newer.scoring_run_id and object.scan_id = scan.scan_id
    where newer.listed_at is not null
      and newer.scoring_run_id not in (select scoring_run_id from listed_before))
  and exists (
    select from unnest(cast(:buckets as text[]), cast(:prefixes as text[])) as listed (bucket, prefix)
    where scan_location.bucket = listed.bucket and starts_with(scan_location.key, listed.prefix))
  and not exists (select from seen where seen.scan_id = scan.scan_id)
  and not {% include "scoring/is_at_work.sql" %}

-- Marks the other versions of a listed object as replaced. If a run that listed later has another version of the object, the
-- listed version itself is replaced. The times of S3 do not matter: an older version is present again if a newer one is deleted.
with changed as (
    select scan_id, bucket, key from seen where is_changed
    union all
    select seen.scan_id, bucket, key from scan join seen using (scan_id) where scan.is_replaced
),
listed as (
    select
        changed.scan_id,
        bucket,
        key,
        not exists (
            select from scan_location as other
            join scoring_run_object as object using (scan_id)
            join scoring_run as newer using (scoring_run_id)
            where other.bucket = changed.bucket and other.key = changed.key and other.scan_id <> changed.scan_id
              and newer.listed_at is not null
              and newer.scoring_run_id not in (select scoring_run_id from listed_before)) as is_present
    from changed
)
update scan
set is_replaced = not (is_present and scan.scan_id = listed.scan_id)
from listed
join scan_location using (bucket, key)
where scan.scan_id = scan_location.scan_id
  and (is_present or scan.scan_id = listed.scan_id)
  and is_replaced = (is_present and scan.scan_id = listed.scan_id)

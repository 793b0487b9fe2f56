-- Marks the other versions of listed objects as replaced, and a replaced version that is listed again as present. A listing
-- that was made before a later version arrived changes nothing.
with moved as (
    select scan_id, bucket, key, arrived_at from seen where is_changed
    union all
    select seen.scan_id, bucket, key, seen.arrived_at from scan join seen using (scan_id) where scan.is_replaced
),
present as (
    select moved.scan_id, moved.bucket, moved.key
    from moved
    where not exists (
        select from scan_location
        join scan as other using (scan_id)
        where scan_location.bucket = moved.bucket and scan_location.key = moved.key
          and other.scan_id <> moved.scan_id and other.arrived_at > moved.arrived_at)
)
update scan
set is_replaced = scan.scan_id <> present.scan_id
from present
join scan_location using (bucket, key)
where scan.scan_id = scan_location.scan_id
  and scan.is_replaced <> (scan.scan_id <> present.scan_id)

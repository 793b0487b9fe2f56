-- Joins the listing with the scan table. A known object version has its scan ID, a new one gets the next scan ID.
create temporary table seen on commit drop as
select
    coalesce(known_id, nextval(pg_get_serial_sequence('scan', 'scan_id'))) as scan_id,
    known_id is null as is_new,
    known_id is null and exists (
        select from scan_location as earlier
        where earlier.bucket = joined.bucket and earlier.key = joined.key) as is_changed,
    bucket, key, etag, size_bytes, arrived_at, is_ignored, has_usable_key
from (
    select listing.*, scan_location.scan_id as known_id
    from listing
    left join scan_location using (bucket, key, etag)
    order by position  -- so that scan IDs follow the listing, and a chunk has whole series
) as joined

-- The scans that a model scored and whose file was not overwritten, the most recently processed first.
select scan_id, bucket, key, etag
from scan
join scan_location using (scan_id)
where state = 'scored' and not is_replaced
  and exists (
      select from prediction
      where prediction.scan_id = scan.scan_id and prediction.model_version_id = :model)
order by processed_at desc, scan_id desc
limit :limit

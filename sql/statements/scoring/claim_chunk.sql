-- Claims a chunk for a new attempt. Returns no row if the chunk is already committed.
with previous as (
    select lease_expires_at is not null as after_crash from scoring_chunk
    where scoring_run_id = :run and chunk_number = :chunk and finished_at is null
    for update
)
update scoring_chunk
set attempt = attempt + 1, lease_expires_at = clock_timestamp() + make_interval(secs => :lease)
from previous
where scoring_run_id = :run and chunk_number = :chunk
returning attempt, after_crash

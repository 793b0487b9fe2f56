-- Condition on a row of scan: a worker holds an unexpired lease of the scan's chunk.
exists (
    select from scoring_chunk
    where scoring_chunk.scoring_run_id = scan.scoring_run_id
      and scoring_chunk.chunk_number = scan.chunk_number
      and scoring_chunk.finished_at is null
      and scoring_chunk.lease_expires_at > now())

-- A run that was at work while 0002 came has its chunks, so it was planned.

set local search_path = braintumor;

update scoring_run
set planned_at = listed_at
where planned_at is null
  and exists (select from scoring_chunk where scoring_chunk.scoring_run_id = scoring_run.scoring_run_id);

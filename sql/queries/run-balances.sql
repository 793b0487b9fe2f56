-- Does every scoring run balance?
select scoring_run_id, started_at, run_key, count_seen, count_scored, count_known, count_rejected, count_ignored,
    count_deferred, count_superseded, count_erased, count_unaccounted
from braintumor.scoring_run_balance
order by scoring_run_id;

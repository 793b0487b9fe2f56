-- Stores the counts of a listing in the run.
with kind as (
    select
        count(*) filter (where is_new and not is_ignored and not is_changed) as count_new,
        count(*) filter (where is_new and not is_ignored and is_changed) as count_changed,
        count(*) filter (where is_new and is_ignored) as count_unsupported,
        count(*) filter (where not has_usable_key) as count_unusable_key
    from seen
),
again as (
    select count(*) as count_retried
    from seen
    join scan using (scan_id)
    where not seen.is_new and scan.state = 'pending' and not {% include "scoring/is_at_work.sql" %}
)
update scoring_run
set count_seen = :seen, listed_at = now(),
    count_new = kind.count_new, count_changed = kind.count_changed,
    count_unsupported = kind.count_unsupported, count_unusable_key = kind.count_unusable_key,
    count_retried = again.count_retried
from kind, again
where scoring_run_id = :run

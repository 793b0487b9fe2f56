-- Numbers of listed objects of a run by kind.
select kind.name, kind.amount
from scoring_run
cross join lateral (
    values (1, 'new', count_new), (2, 'changed', count_changed), (3, 'ignored', count_unsupported),
           (4, 'retried', count_retried),
           (5, 'unusable keys', nullif(count_unusable_key, 0))) as kind (place, name, amount)
where scoring_run_id = :run and kind.amount is not null
order by place

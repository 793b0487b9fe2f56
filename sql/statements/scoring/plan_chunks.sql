-- Numbers the chunks of the pending scans that the run listed, without scans that another worker processes.
create temporary table planned on commit drop as
with free as (
    select scan.scan_id
    from scan
    join scoring_run_object as object on object.scan_id = scan.scan_id and object.scoring_run_id = :run
    where scan.state = 'pending' and not {% include "scoring/is_at_work.sql" %}
    order by scan.scan_id
    limit :limit
    for update of scan skip locked
)
select scan_id, ((row_number() over (order by scan_id) - 1) / :chunk_size)::integer as chunk_number
from free

-- The riskiest frame of each waiting scan. If no scan waits, one row has only the number of read frames.
with read as materialized (
    select *
    from worklist_page(
        :limit, of_night => :day, of_class => :class, of_model => :model, of_reason => :reason, of_tumor => :tumor)
),
waiting as (
    select distinct on (frame.scan_id) frame.*
    from read as frame
    {% include "review/own_reviews.sql" %}
    where {% include "review/is_waiting.sql" %}
    order by frame.scan_id, risk_rank, risk_rank_at_scoring, confidence, frame_index
)
select
    count_read,
    {% include "review/worklist_columns.sql" %}
from (select count(*) as count_read from read) as extent
left join waiting as frame on true
order by risk_rank, risk_rank_at_scoring, confidence, scan_id

-- The waiting scans of each review reason, among the first frames of the worklist. The rows without a reason
-- count all waiting scans. At least one such row is returned.
with read as materialized (
    select * from worklist_page(:limit, of_night => :day, of_class => :class, of_model => :model, of_tumor => :tumor)
)
select
    reason,
    count(distinct frame.scan_id) as count_scan,
    (select count(*) from read) as count_read
from read as frame
{% include "review/own_reviews.sql" %}
cross join lateral unnest(
    array[null, case when frame.is_conflict then 'reviewers_disagree' end] || frame.review_reasons) as reason
where {% include "review/is_waiting.sql" %}
group by grouping sets ((), (reason))

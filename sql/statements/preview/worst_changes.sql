-- The most severe changes of the predicted class.
{% include "preview/compared.sql" %}
select
    scan_id, frame_index, before::text, before_confidence, before_map, after::text, after_confidence, after_map, loss
from compared
where before <> after
order by severity, loss desc, scan_id, frame_index
limit :shown

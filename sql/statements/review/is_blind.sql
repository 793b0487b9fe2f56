-- Whether the prediction of a frame is hidden from a person.
select {% include "review/is_hidden.sql" %}
from (values (cast(:scan as bigint), cast(:frame as integer))) as frame (scan_id, frame_index)

-- The progress of a person's review session. A frame whose file was overwritten before its review does not count.
select
    minutes,
    extract(epoch from now() - started_at)::double precision as seconds,
    (select count(*) from review_session_item as frame
     where frame.review_session_id = :session
       and (not {% include "review/is_replaced.sql" %} or {% include "review/is_reviewed_in_session.sql" %})
    ) as count_item,
    (select count(*) from review_session_item as frame
     where frame.review_session_id = :session and {% include "review/is_reviewed_in_session.sql" %}
    ) as count_reviewed
from review_session
where review_session_id = :session and reviewer = :person

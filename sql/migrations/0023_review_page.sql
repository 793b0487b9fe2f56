-- What a sitting shows is on record before it begins, so that a reload goes on where it was, and why a frame was shown is
-- not asked of the browser.

set local search_path = braintumor;

create table review_session_item (
    review_session_id  bigint not null references review_session,
    place              integer not null check (place >= 0),
    scan_id            bigint not null references scan,
    frame_index        integer not null,
    purpose            review_purpose not null,
    primary key (review_session_id, place),
    unique (review_session_id, scan_id, frame_index)
);
comment on table review_session_item is 'Append-only: one row per frame that a sitting was to show, whether or not it was reached.';
comment on column review_session_item.review_session_id is 'The sitting.';
comment on column review_session_item.place is 'Its place in the sitting, from 0.';
comment on column review_session_item.scan_id is 'The scan.';
comment on column review_session_item.frame_index is 'The frame''s place in its file.';
comment on column review_session_item.purpose is 'Why it was shown; the person is not told.';
create trigger review_session_item_is_append_only before update or delete on review_session_item
    for each row execute function refuse_change_but_erasure();
create trigger review_session_item_is_never_truncated before truncate on review_session_item
    for each statement execute function refuse_change();

create index scan_by_series on scan (series_pseudonym) where series_pseudonym is not null;  -- a frame's neighboring slices
create index scan_in_audit_sample on scan (scan_id) where audit_probability is not null;     -- what is read blind
create index review_session_by_reviewer on review_session (reviewer, review_session_id);    -- a person's newest sitting

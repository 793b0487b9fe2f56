-- What people say of frames. Append-only: who changes their mind adds a row, who slips takes a row back by another one.

set local search_path = braintumor;

create type review_finding as enum (
    'glioma', 'meningioma', 'normal', 'pituitary', 'other_finding', 'unusable_image', 'cannot_tell');
create type review_purpose as enum ('risk', 'audit', 'repeat', 'adjudication');

create table review_session (
    review_session_id  bigint generated always as identity primary key,
    reviewer           text not null check (reviewer <> ''),
    minutes            integer not null check (minutes between 1 and 480),
    started_at         timestamptz not null default now()
);
comment on table review_session is 'One row per sitting: who reads, and for how long they mean to.';
comment on column review_session.review_session_id is 'Its number.';
comment on column review_session.reviewer is 'The person''s user name in Airflow.';
comment on column review_session.minutes is 'The budget that the reader gave; the queue is filled to it.';
comment on column review_session.started_at is 'When.';

create table review (
    review_id          bigint generated always as identity primary key,
    request_key        text not null unique check (request_key <> ''),
    review_session_id  bigint references review_session,
    scan_id            bigint not null,
    frame_index        integer not null,
    model_version_id   bigint not null,
    reviewer           text not null check (reviewer <> ''),
    finding            review_finding not null,
    purpose            review_purpose not null,
    is_blind           boolean not null,
    seconds            real check (seconds >= 0),
    reviewed_at        timestamptz not null default clock_timestamp(),
    foreign key (scan_id, frame_index, model_version_id) references prediction (scan_id, frame_index, model_version_id)
);
comment on table review is 'Append-only: one row per answer of a person to one frame, beside the model''s answer that stood then.';
comment on column review.review_id is 'Its number.';
comment on column review.request_key is 'Made by the page for each answer, so that one that is sent twice is one row.';
comment on column review.review_session_id is 'The sitting; null outside one.';
comment on column review.scan_id is 'The scan.';
comment on column review.frame_index is 'The frame''s place in its file.';
comment on column review.model_version_id is 'Whose answer stood when the person answered.';
comment on column review.reviewer is 'The person''s user name in Airflow.';
comment on column review.finding is
    'What the person sees. normal is "none of the three tumors"; other_finding is something else than these four; '
    'unusable_image and cannot_tell are no findings, and count in no agreement.';
comment on column review.purpose is
    'Why the frame was shown: risk (its review reasons), audit (drawn at random), repeat (the same person a second time, not '
    'told), adjudication (two people disagreed).';
comment on column review.is_blind is 'The model''s answer was not on the screen before the person''s was saved.';
comment on column review.seconds is 'From showing the frame to the answer.';
comment on column review.reviewed_at is 'When.';
create index review_by_frame on review (scan_id, frame_index);  -- what was said of this frame
create index review_by_reviewer on review (reviewer, reviewed_at);  -- a person's own last answers

create table review_retraction (
    review_id     bigint primary key references review,
    retracted_at  timestamptz not null default clock_timestamp()
);
comment on table review_retraction is 'Append-only: one row per answer that its reviewer took back.';
comment on column review_retraction.review_id is 'The answer that counts no more.';
comment on column review_retraction.retracted_at is 'When.';

create trigger review_is_append_only before update or delete on review
    for each row execute function refuse_change();
create trigger review_is_never_truncated before truncate on review
    for each statement execute function refuse_change();
create trigger review_retraction_is_append_only before update or delete on review_retraction
    for each row execute function refuse_change();
create trigger review_retraction_is_never_truncated before truncate on review_retraction
    for each statement execute function refuse_change();

alter table scan add column audit_probability real check (audit_probability > 0 and audit_probability <= 1);
comment on column scan.audit_probability is
    'The probability with which the scan was drawn into the audit sample before it was scored; null where it was not drawn.';

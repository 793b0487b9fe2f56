-- Old scans can be answered by another model: who asked for it and why, which scans, and what became of each.

set local search_path = braintumor;

create type run_kind as enum ('night', 'rescore');
create type rescore_state as enum ('pending', 'rescored', 'already_scored', 'gone', 'refused', 'unreadable', 'failed');

alter table scoring_run
    add column kind run_kind not null default 'night',
    alter column scans_uri drop not null,
    add check ((kind = 'night') = (scans_uri is not null));
comment on table scoring_run is
    'One row per night, or manual run: its pinned model, and for nights the balance. Of two runs the later one''s answers stand.';
comment on column scoring_run.kind is
    'A night lists a prefix for what is new; a rescore takes scans that have an answer: rescore_run says which and why.';
comment on column scoring_run.scans_uri is 'The prefix that a night listed; null for a rescore.';

create table rescore_run (
    scoring_run_id  bigint primary key references scoring_run,
    is_champion     boolean not null,
    actor           text not null check (actor <> ''),
    reason          text not null check (reason <> ''),
    asked_for       jsonb not null,
    count_matching  integer not null,
    count_asked     integer not null,
    asked_at        timestamptz not null default now()
);
comment on table rescore_run is
    'Append-only: one row per rescore, the approval to let its model''s answers stand; who gave it, and why.';
comment on column rescore_run.is_champion is
    'Whether its model was champion when it was asked for; another one needs the explicit approval.';
comment on column rescore_run.asked_for is 'Whose standing answers (models), since and until when they were scored, and how many.';
comment on column rescore_run.count_matching is 'Scans that were asked for; more than count_asked where a limit left some out.';
comment on column rescore_run.count_asked is 'Scans that were taken up, stored before any work: what the balance must come to.';
create trigger rescore_run_is_append_only before update or delete on rescore_run
    for each row execute function refuse_change();
create trigger rescore_run_is_never_truncated before truncate on rescore_run
    for each statement execute function refuse_change();

create table rescore (
    scoring_run_id           bigint not null references rescore_run,
    scan_id                  bigint not null references scan,
    chunk_number             integer not null,
    before_model_version_id  bigint not null references model_version,
    state                    rescore_state not null default 'pending',
    count_taken              integer not null default 0,
    processed_at               timestamptz,
    primary key (scoring_run_id, scan_id)
);
comment on table rescore is 'One row per rescore and scan that it was asked for: what its balance is counted from.';
comment on column rescore.before_model_version_id is 'Whose answer stood when it was asked for.';
comment on column rescore.state is
    'already: the model had answered the scan before, and that answer stands again; gone, refused, unreadable, failed: the '
    'answer before stands.';
comment on column rescore.count_taken is
    'Workers that have it in hand, or died with it; what one left behind is taken up alone, and at 3 it is failed.';
create index rescore_by_chunk on rescore (scoring_run_id, chunk_number);  -- a chunk takes its scans
create index rescore_by_scan on rescore (scan_id, state);                 -- which answer of a scan stands

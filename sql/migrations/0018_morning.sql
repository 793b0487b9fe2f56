-- What the morning sheet says of a night, for queries and alerts.

set local search_path = braintumor;

create type run_level as enum ('green', 'amber', 'red');

create table scoring_run_summary (
    scoring_run_id  bigint primary key references scoring_run,
    level           run_level not null,
    count_arrived   integer not null,
    count_expected  double precision,
    reasons         text[] not null,
    judged_at       timestamptz not null default now()
);
comment on table scoring_run_summary is 'One row per night that was judged: how it went, and why it is not green.';
comment on column scoring_run_summary.count_arrived is
    'Object versions that were new under the prefix on the night''s day (UTC), over all its runs of that day so far.';
comment on column scoring_run_summary.count_expected is
    'Median of count_arrived over the last 7 earlier days with a run of the prefix; null with fewer than 5 such days.';
comment on column scoring_run_summary.scoring_run_id is 'The night.';
comment on column scoring_run_summary.level is 'The worst level of a reason; green without one.';
comment on column scoring_run_summary.judged_at is 'When it was last judged: each reconciliation of the night judges anew.';
comment on column scoring_run_summary.reasons is 'One sentence for each thing that is red or amber; empty when green.';

create table scan_requeue (
    scan_id         bigint not null references scan,
    scoring_run_id  bigint not null references scoring_run,
    reason          text not null,
    actor           text not null check (actor <> ''),
    requeued_at     timestamptz not null default now(),
    primary key (scan_id, scoring_run_id)
);
comment on table scan_requeue is 'One row per rejected scan that somebody sent back to be tried again by the next night.';
comment on column scan_requeue.scoring_run_id is 'The run that had rejected it.';
comment on column scan_requeue.scan_id is 'The scan.';
comment on column scan_requeue.actor is 'Who sent it back: the account that ran the command.';
comment on column scan_requeue.requeued_at is 'When.';
comment on column scan_requeue.reason is 'The code that it had been rejected with.';

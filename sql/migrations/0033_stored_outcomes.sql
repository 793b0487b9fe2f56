-- What became of a scan in a run is stored when it happens, so that later runs and `scan requeue` change no earlier night.

set local search_path = braintumor;

alter table scoring_run_object add column is_known boolean;
comment on column scoring_run_object.is_known is
    'Whether an earlier run had settled the scan when this run listed it. Null before migration 0033.';

create table scan_outcome (
    scoring_run_id  bigint not null,
    scan_id         bigint not null,
    outcome         text not null
        check (outcome in ('scored', 'rejected', 'ignored', 'superseded', 'deferred', 'known')),
    primary key (scoring_run_id, scan_id)
);
comment on table scan_outcome is
    'One row per night and scan: what became of the scan in that night. Later runs do not change it.';
comment on column scan_outcome.scoring_run_id is 'The night.';
comment on column scan_outcome.scan_id is 'The scan. There is no foreign key, as in scoring_run_object, because it costs time.';
comment on column scan_outcome.outcome is
    'scored, rejected, ignored or superseded by this night; deferred by it; or known, because another run settled it first.';

alter table scoring_run add column count_unusable_key integer;
comment on column scoring_run.count_unusable_key is
    'Of these, objects whose key Postgres cannot store. They are ignored. Null before migration 0033.';

-- A rejection keeps its run, so it is known even of scans that were sent back since.
insert into scan_outcome (scoring_run_id, scan_id, outcome)
select scoring_run_object.scoring_run_id, scoring_run_object.scan_id, 'rejected'
from scoring_run_object
join rejection using (scoring_run_id, scan_id);

insert into scan_outcome (scoring_run_id, scan_id, outcome)
select scoring_run_object.scoring_run_id, scoring_run_object.scan_id, scan.state::text
from scoring_run_object
join scan using (scoring_run_id, scan_id)
where scan.state <> 'pending'
on conflict do nothing;

insert into scan_outcome (scoring_run_id, scan_id, outcome)
select scoring_run_object.scoring_run_id, scoring_run_object.scan_id, 'deferred'
from scoring_run_object
join scoring_run using (scoring_run_id)
join scan using (scan_id)
where scan.state = 'pending' and scoring_run.state = 'balanced'
on conflict do nothing;

-- What a night plans is on record before it works: what is new, changed, unsupported and retried. A night can list several
-- prefixes. A copy's answer says whose it is.

set local search_path = braintumor;

alter table scoring_run
    add column count_changed integer,
    add column count_unsupported integer,
    add column count_retried integer;
comment on column scoring_run.count_new is
    'Of these, objects to be settled at a key that the ledger had not seen. Where count_changed is null (before migration '
    '0017) it includes the three kinds below.';
comment on column scoring_run.count_changed is
    'Of these, object versions to be settled that the ledger had not seen, at a key that it had: overwritten.';
comment on column scoring_run.count_unsupported is
    'Of these, objects that the ledger had not seen and that are no scans by rule (folder markers, litter): ignored.';
comment on column scoring_run.count_retried is
    'Of these, scans of earlier runs to be settled again: still pending, sent back, refused by S3, or superseded and there '
    'again.';

update scoring_run set scans_uri = scans_uri || '/' where scans_uri not like '%/';  -- each was listed with its slash
comment on column scoring_run.scans_uri is
    'The prefixes that a night listed, each ending in /, sorted, with commas between them; null for a rescore.';
comment on column scoring_run.count_seen is 'Objects under the prefixes, counted by the lister and stored before any work.';

alter table prediction add column copied_from_scan_id bigint references scan;
comment on column prediction.copied_from_scan_id is
    'The scan of the same bytes that the model was asked about; null where it was asked about this one.';

-- Half of a night's work in Postgres was to look up, object by object, two rows that the inserting statement had just read. A
-- scan whose row went missing is still noticed: its scoring_run_object leads nowhere, and the night is red.
alter table scoring_run_object
    drop constraint scoring_run_object_scoring_run_id_fkey,
    drop constraint scoring_run_object_scan_id_fkey;

drop index scan_by_content;
create index scan_by_content on scan (content_sha256) where content_sha256 is not null;  -- copies of the same bytes
create index scan_by_pixels on scan (pixel_sha256) where patient_pseudonym is not null;  -- the same picture, whose?

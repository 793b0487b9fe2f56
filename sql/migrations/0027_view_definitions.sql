-- additive: a table of which definition of each view and function is in the database, so that `migrate` changes only what differs.

set local search_path = braintumor;

create table view_definition (
    object_name  text primary key,
    checksum     text not null,
    changed_at   timestamptz not null default now()
);
comment on table view_definition is
    'One row per view and function that `braintumor migrate` keeps, and one for their comments. It changes only what differs.';
comment on column view_definition.object_name is 'Such as "view champion" or "function champion_at"; "comments" for all comments.';
comment on column view_definition.checksum is 'sha256 of its SQL without comments.';
comment on column view_definition.changed_at is 'When `migrate` last changed it.';

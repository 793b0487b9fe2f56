-- The way back: a model can be withdrawn, and the files of old candidates pruned. Both are rows that nobody changes.

set local search_path = braintumor;

comment on table promotion is
    'Append-only ledger: one row per change of champion. The champion is the newest row''s model, unless it was withdrawn since.';
comment on column promotion.is_override is
    'Promoted although the gate refused or never saw it, or although withdrawn; a rollback to such a promotion stays one.';

create table withdrawal (
    withdrawal_id       bigint generated always as identity primary key,
    model_version_id    bigint not null references model_version,
    after_promotion_id  bigint references promotion,
    actor               text not null,
    reason              text not null check (reason <> ''),
    withdrawn_at        timestamptz not null default clock_timestamp()
);
comment on table withdrawal is
    'Append-only: one row per withdrawal of a model. It stands until the model is promoted again, which only an override does.';
comment on column withdrawal.after_promotion_id is 'The newest row of the ledger then; null where there was none.';
create trigger withdrawal_is_append_only before update or delete on withdrawal
    for each row execute function refuse_change();
create trigger withdrawal_is_never_truncated before truncate on withdrawal
    for each statement execute function refuse_change();

create table pruning (
    model_version_id  bigint primary key references model_version,
    actor             text not null,
    reason            text not null check (reason <> ''),
    pruned_at         timestamptz not null default clock_timestamp()
);
comment on table pruning is
    'Append-only: one row per model whose files were deleted. The row comes first, so that nobody promotes what is going.';
create trigger pruning_is_append_only before update or delete on pruning
    for each row execute function refuse_change();
create trigger pruning_is_never_truncated before truncate on pruning
    for each statement execute function refuse_change();

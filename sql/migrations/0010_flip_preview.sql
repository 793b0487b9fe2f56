-- What a candidate would have said of scans that the champion answered, and what people said when they were asked.

set local search_path = braintumor;

create table shadow_prediction (
    scan_id                 bigint not null references scan,
    frame_index             integer not null,
    model_version_id        bigint not null references model_version,
    run_key                 text not null,
    predicted_class         tumor_class not null,
    confidence              real not null check (confidence between 0 and 1),
    probability_glioma      real not null,
    probability_meningioma  real not null,
    probability_normal      real not null,
    probability_pituitary   real not null,
    activation_map          bytea not null,
    scored_at               timestamptz not null default now(),
    primary key (model_version_id, scan_id, frame_index),
    check (abs(probability_glioma + probability_meningioma + probability_normal + probability_pituitary - 1) < 1e-3)
);
comment on table shadow_prediction is
    'One row per frame and model version: what a model that was not champion would have said. Never an answer; no view reads it.';
comment on column shadow_prediction.run_key is 'The retrain run, or command, that asked first.';
comment on column shadow_prediction.activation_map is
    'Class activation map of the predicted class: square, row-major float16 (little endian), logits.';

create index scan_by_settling on scan (processed_at desc, scan_id desc) where state = 'scored';  -- the newest N for a preview

create table approval_decision (
    gate_verdict_id  bigint not null references gate_verdict,
    answered_at      timestamptz not null,
    answer           text not null check (answer in ('approve', 'reject')),
    person           text not null check (person <> ''),
    recorded_at      timestamptz not null default now(),
    primary key (gate_verdict_id, answered_at)
);
comment on table approval_decision is
    'Append-only: one row per answer to the question whether a candidate that passed the gate may be promoted.';
comment on column approval_decision.person is 'Who answered; nobody where the time ran out, which is a rejection.';
create trigger approval_decision_is_append_only before update or delete on approval_decision
    for each row execute function refuse_change();
create trigger approval_decision_is_never_truncated before truncate on approval_decision
    for each statement execute function refuse_change();

-- Everything the main job writes: snapshots, models, the promotion ledger, scans and predictions.
-- Applied in one transaction with its record by `braintumor migrate`; the schema braintumor exists already.

set local search_path = braintumor;

create type tumor_class as enum ('glioma', 'meningioma', 'normal', 'pituitary');
create type split as enum ('train', 'validation', 'test');
create type scan_state as enum ('pending', 'scored', 'rejected', 'ignored', 'superseded');
create type run_state as enum ('running', 'balanced', 'unbalanced');
create type promotion_action as enum ('promote', 'rollback');

-- How a model was made ------------------------------------------------------------------------------------------------

create table snapshot (
    snapshot_id  text primary key,
    source_uri   text not null,
    count_image  integer not null check (count_image > 0),
    count_copy   integer not null,
    left_out     jsonb not null,
    created_at   timestamptz not null default now()
);
comment on table snapshot is 'One row per immutable, content-addressed list of labeled images with their split.';
comment on column snapshot.snapshot_id is 'First 16 hex digits of the sha256 over its sorted images, labels and splits.';
comment on column snapshot.count_copy is 'Redundant copies of the same pixels that were folded into one image.';
comment on column snapshot.left_out is 'Images that could not enter, each with its sha256 and reason.';

create table split_assignment (
    group_key    text primary key,
    split        split not null,
    assigned_at  timestamptz not null default now()
);
comment on table split_assignment is 'One row per group of identical images: the split it belongs to for ever.';

create table snapshot_image (
    snapshot_id   text not null references snapshot,
    image_sha256  text not null,
    group_key     text not null references split_assignment,
    label         tumor_class not null,
    split         split not null,
    image_uri     text not null,
    primary key (snapshot_id, image_sha256)
);
comment on table snapshot_image is 'One row per image of a snapshot.';

create table training_run (
    training_run_id    bigint generated always as identity primary key,
    run_key            text not null,
    recipe_name        text not null,
    recipe             jsonb not null,
    snapshot_id        text not null references snapshot,
    initialization     text not null,
    history            jsonb not null,
    code_version       text not null,
    library_versions   jsonb not null,
    device             text not null,
    seconds            double precision not null,
    finished_at        timestamptz not null default now(),
    unique (run_key, recipe_name)
);
comment on table training_run is 'One row per finished training of one recipe in one retrain run; a retry finds its row.';

create table model_version (
    model_version_id      bigint generated always as identity primary key,
    model_name            text not null unique,
    training_run_id       bigint not null references training_run,
    backbone              text not null,
    precision             text not null,
    image_size            integer not null,
    preprocessing         text not null,
    count_parameter       bigint not null,
    artifact_uri          text not null,
    artifact_sha256s      jsonb not null,
    temperature           double precision not null check (temperature > 0),
    low_confidence_below  double precision not null,
    near_tie_below        double precision not null,
    created_at            timestamptz not null default now(),
    unique (training_run_id, precision)
);
comment on table model_version is 'One row per immutable trained artifact.';
comment on column model_version.artifact_sha256s is 'File name -> sha256; checked before any of the files is loaded.';

create table evaluation (
    evaluation_id               bigint generated always as identity primary key,
    model_version_id            bigint not null references model_version,
    snapshot_id                 text not null references snapshot,
    split                       split not null,
    count_image                 integer not null,
    accuracy                    double precision not null,
    accuracy_low                double precision not null,
    accuracy_high               double precision not null,
    macro_precision             double precision not null,
    macro_recall                double precision not null,
    macro_f1                    double precision not null,
    tumor_sensitivity           double precision,
    expected_calibration_error  double precision not null,
    log_loss                    double precision not null,
    count_access                  integer not null default 1,
    evaluated_at                timestamptz not null default now(),
    unique (model_version_id, snapshot_id, split)
);
comment on table evaluation is 'One row per model version, snapshot and split.';
comment on column evaluation.count_access is 'How many times this model was judged on these images; more than 1 is said aloud.';

create table evaluation_class (
    evaluation_id  bigint not null references evaluation,
    label          tumor_class not null,
    precision      double precision,
    recall         double precision,
    specificity    double precision,
    f1             double precision,
    auroc          double precision,
    support        integer not null,
    primary key (evaluation_id, label)
);
comment on table evaluation_class is 'One row per evaluation and class.';

create table confusion_cell (
    evaluation_id    bigint not null references evaluation,
    label            tumor_class not null,
    predicted_class  tumor_class not null,
    count_image      integer not null,
    primary key (evaluation_id, label, predicted_class)
);
comment on table confusion_cell is 'One row per evaluation, true class and predicted class.';

create table test_prediction (
    evaluation_id           bigint not null references evaluation,
    image_sha256            text not null,
    label                   tumor_class not null,
    predicted_class         tumor_class not null,
    probability_glioma      real not null,
    probability_meningioma  real not null,
    probability_normal      real not null,
    probability_pituitary   real not null,
    primary key (evaluation_id, image_sha256)
);
comment on table test_prediction is 'One row per evaluated image: what paired tests compare.';

create table gate_verdict (
    gate_verdict_id            bigint generated always as identity primary key,
    run_key                    text not null unique,
    model_version_id           bigint not null references model_version,
    champion_model_version_id  bigint references model_version,
    is_passed                  boolean not null,
    rules                      jsonb not null,
    summary                    text not null,
    judged_at                  timestamptz not null default now()
);
comment on table gate_verdict is 'One row per retrain run: its one candidate, and what each rule said of it.';

create table promotion (
    promotion_id      bigint generated always as identity primary key,
    request_key       text not null unique,
    action            promotion_action not null,
    model_version_id  bigint not null references model_version,
    gate_verdict_id   bigint references gate_verdict,
    is_override       boolean not null,
    actor             text not null,
    reason            text not null check (reason <> ''),
    promoted_at       timestamptz not null default clock_timestamp()
);
comment on table promotion is 'Append-only ledger: one row per change of champion. The champion is the newest row''s model.';
comment on column promotion.request_key is 'Names the request (a retrain run, a command), so that a retry adds no second row.';

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: add a row instead of changing one', tg_table_name;
end $$;
create trigger promotion_is_append_only before update or delete on promotion
    for each row execute function refuse_change();
create trigger promotion_is_never_truncated before truncate on promotion
    for each statement execute function refuse_change();

-- What was scored -----------------------------------------------------------------------------------------------------

create table scoring_run (
    scoring_run_id     bigint generated always as identity primary key,
    run_key            text not null unique,
    scans_uri          text not null,
    model_version_id   bigint not null references model_version,
    engine             text not null,
    state              run_state not null default 'running',
    count_seen         integer,
    count_new          integer,
    count_scored       integer,
    count_known        integer,
    count_rejected     integer,
    count_ignored      integer,
    count_deferred     integer,
    count_superseded   integer,
    count_unaccounted  integer,
    started_at         timestamptz not null default now(),
    listed_at          timestamptz,
    finished_at        timestamptz
);
comment on table scoring_run is 'One row per night (or manual run): the pinned champion and the balance.';
comment on column scoring_run.count_seen is 'Objects under the prefix, counted by the lister and stored before any work.';
comment on column scoring_run.count_new is 'Of these, object versions that the ledger had not seen before.';
comment on column scoring_run.count_unaccounted is 'Objects seen whose rows do not say what became of them; more than 0 is red.';

create table scoring_chunk (
    scoring_run_id    bigint not null references scoring_run,
    chunk_number      integer not null,
    count_scan        integer not null,
    attempt           integer not null default 0,
    lease_expires_at  timestamptz,
    finished_at       timestamptz,
    stage_seconds     jsonb,
    primary key (scoring_run_id, chunk_number)
);
comment on table scoring_chunk is 'One row per chunk of a run: scans that are claimed, scored and written together.';
comment on column scoring_chunk.attempt is 'Fencing token: only the newest attempt may commit.';

create table scan (
    scan_id            bigint generated always as identity primary key,
    state              scan_state not null default 'pending',
    scoring_run_id     bigint not null references scoring_run,
    chunk_number       integer,
    count_attempt      integer not null default 0,
    count_frame        integer,
    size_bytes          bigint not null,
    format             text,
    content_sha256     text,
    pixel_sha256       text,
    study_pseudonym    text,
    series_pseudonym   text,
    patient_pseudonym  text,
    arrived_at         timestamptz not null,
    discovered_at      timestamptz not null default now(),
    processed_at         timestamptz,
    foreign key (scoring_run_id, chunk_number) references scoring_chunk
);
comment on table scan is 'The ledger: one row per S3 object version that was ever seen.';
comment on column scan.scoring_run_id is 'The run that planned it last, and, once settled, the run that settled it.';
create index scan_pending on scan (scan_id) where state = 'pending';  -- the plan reads nothing else
create index scan_by_chunk on scan (scoring_run_id, chunk_number);    -- a chunk claims its scans
create index scan_by_content on scan (content_sha256);                -- copies of the same bytes

create table scan_location (
    scan_id  bigint primary key references scan,
    bucket   text not null,
    key      text not null,
    etag     text not null,
    unique (bucket, key, etag)
);
comment on table scan_location is 'One row per scan: where it lies. Keys can identify patients, so only the scorer reads them.';

create table scoring_run_object (
    scoring_run_id  bigint not null references scoring_run,
    scan_id         bigint not null references scan,
    primary key (scoring_run_id, scan_id)
);
comment on table scoring_run_object is 'One row per object that a run saw under its prefix: what the balance is counted from.';

create table prediction (
    scan_id                 bigint not null references scan,
    frame_index             integer not null,
    model_version_id        bigint not null references model_version,
    scoring_run_id          bigint not null references scoring_run,
    predicted_class         tumor_class not null,
    confidence              real not null check (confidence between 0 and 1),
    margin                  real not null check (margin between 0 and 1),
    probability_glioma      real not null,
    probability_meningioma  real not null,
    probability_normal      real not null,
    probability_pituitary   real not null,
    review_reasons          text[] not null,
    activation_map          bytea not null,
    engine                  text not null,
    preprocessing           text not null,
    scored_at               timestamptz not null default now(),
    primary key (scan_id, frame_index, model_version_id),
    check (abs(probability_glioma + probability_meningioma + probability_normal + probability_pituitary - 1) < 1e-3)
);
comment on table prediction is 'One row per frame and model version. For review, not for diagnosis.';
comment on column prediction.margin is 'Confidence minus the second largest probability.';
comment on column prediction.activation_map is 'Class activation map of the predicted class: square, row-major float16 (little endian), logits.';
create index prediction_by_time on prediction (scored_at);          -- days and weeks of the summaries
create index prediction_by_run on prediction (scoring_run_id);      -- a night's rows

create table rejection (
    scan_id         bigint primary key references scan,
    scoring_run_id  bigint not null references scoring_run,
    reason          text not null,
    detail          text not null,
    rejected_at     timestamptz not null default now()
);
comment on table rejection is 'One row per scan that cannot be scored, with its reason code.';

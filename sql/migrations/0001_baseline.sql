-- The schema of version 0.1.0, the first that was deployed. Later changes are new migrations.
-- `braintumor migrate` applies it in one transaction with its record. The schema braintumor exists already.

set local search_path = braintumor;

-- Types ---------------------------------------------------------------------------------------------------------------

create type tumor_class as enum ('glioma', 'meningioma', 'normal', 'pituitary');
create type split as enum ('train', 'validation', 'test');
create type promotion_action as enum ('promote', 'rollback');
create type run_kind as enum ('night', 'rescore');
create type run_state as enum ('running', 'balanced', 'unbalanced');
create type run_level as enum ('green', 'amber', 'red');
create type scan_state as enum ('pending', 'scored', 'rejected', 'ignored', 'superseded');
create type rescore_state as enum (
    'pending', 'rescored', 'already_scored', 'gone', 'refused', 'unreadable', 'failed');
create type review_finding as enum (
    'glioma', 'meningioma', 'normal', 'pituitary', 'other_finding', 'unusable_image', 'cannot_tell');
create type review_purpose as enum ('risk', 'audit', 'repeat', 'adjudication');
create type accuracy_figure as enum (  -- in the order of reports
    'scan', 'scan, corrected', 'patient', 'two readers', 'predicted class', 'finding');
create type label_source as enum ('readers', 'senior_reader', 'adjudicated');

-- Triggers of append-only tables --------------------------------------------------------------------------------------

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: add a row instead of changing one', tg_table_name;
end $$;

-- Allows a delete by erase_subject, which sets braintumor.is_erasing for its transaction.
create function refuse_change_but_erasure() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and current_setting('braintumor.is_erasing', true) = 'yes' then
        return old;
    end if;
    raise exception '% is append-only: add a row instead of changing one', tg_table_name;
end $$;

-- Records of `braintumor migrate` -------------------------------------------------------------------------------------

comment on table migration is 'One row per applied migration, with the checksum of its file.';
comment on column migration.migration_name is 'File name without .sql.';
comment on column migration.checksum is 'sha256 of the file as it was applied.';
comment on column migration.applied_at is 'Time when the migration was applied.';
comment on column migration.is_additive is
    'Whether code that does not know the migration can work on. The first line of the file says it.';

create table view_definition (
    object_name  text primary key,
    checksum     text not null,
    changed_at   timestamptz not null default now()
);
comment on table view_definition is
    'One row per view and function that `braintumor migrate` keeps, and one for their comments. It changes only '
    'definitions that differ.';
comment on column view_definition.object_name is
    'Such as "view champion" or "function champion_at"; "comments" for all comments.';
comment on column view_definition.checksum is 'sha256 of the SQL without comments.';
comment on column view_definition.changed_at is 'Time of the last change by `migrate`.';

-- Snapshots -----------------------------------------------------------------------------------------------------------

create table snapshot (
    snapshot_id               text primary key,
    source_uri                text not null,
    count_image               integer not null check (count_image > 0),
    count_copy                integer not null,
    left_out                  jsonb not null,
    created_at                timestamptz not null default now(),
    count_identified          integer,
    count_patient_identified  integer,
    count_kept_from_test      integer,
    exempt_classes            text[] not null default '{}',
    check (count_identified between 0 and count_image),
    check (count_patient_identified between 0 and count_identified)
);
comment on table snapshot is 'One row per immutable, content-addressed list of labeled images with their split.';
comment on column snapshot.snapshot_id is
    'First 16 hex digits of the sha256 over the sorted images, labels and splits.';
comment on column snapshot.source_uri is 'S3 prefix of the labeled images.';
comment on column snapshot.count_image is 'Distinct images of the snapshot.';
comment on column snapshot.count_copy is 'Duplicate files with the same pixels that were merged into one image.';
comment on column snapshot.left_out is 'Excluded images, each with its sha256 and reason.';
comment on column snapshot.created_at is 'Time when the snapshot was first taken.';
comment on column snapshot.count_identified is 'Images with a patient or study identifier; null if it was not counted.';
comment on column snapshot.count_patient_identified is
    'Images with a patient identifier. If it equals count_image, no patient is in two splits.';
comment on column snapshot.count_kept_from_test is
    'Images without a patient that may not enter test; null if there is no table of patients or the setting allows them.';
comment on column snapshot.exempt_classes is
    'Classes whose images may enter test without a patient, because too few of their patients are known.';

-- A split belongs to an image and not to a group, so a decoder upgrade or a larger group moves no image.
create table split_assignment (
    image_sha256  text primary key,
    pixel_sha256  text not null,
    split         split not null,
    assigned_at   timestamptz not null default now()
);
comment on table split_assignment is
    'One row per image that ever entered a snapshot, with its permanent split. Duplicates have rows too.';
comment on column split_assignment.image_sha256 is 'sha256 of the file.';
comment on column split_assignment.pixel_sha256 is
    'sha256 of the decoded gray pixels. It finds the same image in another file.';
comment on column split_assignment.split is 'train, validation or test.';
comment on column split_assignment.assigned_at is 'Time of the assignment.';
create index split_assignment_by_pixels on split_assignment (pixel_sha256);  -- looked up for each new image

create table snapshot_image (
    snapshot_id      text not null references snapshot,
    image_sha256     text not null references split_assignment,
    group_key        text not null,
    label            tumor_class not null,
    split            split not null,
    image_uri        text not null,
    pixel_sha256     text not null,
    perceptual_hash  bytea not null default '',
    attributes       jsonb not null default '{}',
    count_file       integer not null default 1,
    has_patient      boolean not null default false,
    primary key (snapshot_id, image_sha256)
);
comment on table snapshot_image is 'One row per image of a snapshot.';
comment on column snapshot_image.snapshot_id is 'The snapshot.';
comment on column snapshot_image.image_sha256 is 'sha256 of the file.';
comment on column snapshot_image.group_key is
    'Equal for near-duplicate images of one snapshot and for images of one patient.';
comment on column snapshot_image.label is 'Class of the image, by its folder or by reviewers.';
comment on column snapshot_image.split is 'train, validation or test.';
comment on column snapshot_image.image_uri is 'S3 URI of the image. It can identify a patient.';
comment on column snapshot_image.pixel_sha256 is 'sha256 of the decoded gray pixels.';
comment on column snapshot_image.perceptual_hash is
    '256-bit DCT hash of the image in its eight flips and rotations; empty if it was not computed.';
comment on column snapshot_image.attributes is
    'Attributes for slices of the evaluation: source folder, format, color, size; from DICOM age band, sex, '
    'manufacturer, field strength and sequence.';
comment on column snapshot_image.count_file is
    'Files with these pixels. A random split of files would distribute them over splits.';
comment on column snapshot_image.has_patient is
    'Whether the patient is known, from the DICOM header or the table of patients. The patient itself is not stored.';

create table snapshot_exclusion (
    snapshot_id   text not null references snapshot,
    image_sha256  text not null,
    reason        text not null,
    author        text not null,
    count_file    integer not null check (count_file > 0),
    primary key (snapshot_id, image_sha256)
);
comment on table snapshot_exclusion is
    'One row per snapshot and image that its exclusion list names, because a person found the label wrong or doubtful.';
comment on column snapshot_exclusion.snapshot_id is 'The snapshot.';
comment on column snapshot_exclusion.image_sha256 is 'sha256 of the listed file.';
comment on column snapshot_exclusion.reason is 'Reason for the exclusion.';
comment on column snapshot_exclusion.author is 'Person who decided the exclusion.';
comment on column snapshot_exclusion.count_file is
    'Excluded files: the listed file, and files with the same pixels.';

-- Models --------------------------------------------------------------------------------------------------------------

create table training_run (
    training_run_id         bigint generated always as identity primary key,
    run_key                 text not null,
    recipe_name             text not null,
    recipe                  jsonb not null,
    snapshot_id             text not null references snapshot,
    initialization          text not null,
    history                 jsonb not null,
    code_version            text not null,
    library_versions        jsonb not null,
    device                  text not null,
    seconds                 double precision not null,
    finished_at             timestamptz not null default now(),
    grouped_accuracy        double precision,
    naive_accuracy          double precision,
    initial_weights_sha256  text,
    recipe_override         jsonb not null default '{}',
    unique (run_key, recipe_name)
);
comment on table training_run is
    'One row per finished training of one recipe in one retrain run. A retry finds its row.';
comment on column training_run.training_run_id is 'Number of the training run.';
comment on column training_run.run_key is 'Name of the retrain run or command.';
comment on column training_run.recipe_name is 'Name of the recipe.';
comment on column training_run.recipe is 'Recipe values of the training, including overrides.';
comment on column training_run.snapshot_id is 'Training data.';
comment on column training_run.initialization is 'Origin of the initial weights: imagenet, random or file.';
comment on column training_run.history is 'Loss and accuracy by stage and epoch.';
comment on column training_run.code_version is 'Version and commit of the code.';
comment on column training_run.library_versions is 'Versions of the libraries that affect the result.';
comment on column training_run.device is 'Device of the training.';
comment on column training_run.seconds is 'Duration of the training.';
comment on column training_run.finished_at is 'Time when the training ended.';
comment on column training_run.grouped_accuracy is 'Accuracy of the frozen stage, without augmented views, on the validation split.';
comment on column training_run.naive_accuracy is
    'Accuracy of the frozen stage after a random split of the files of train and validation, which separates '
    'duplicates and neighboring slices.';
comment on column training_run.initial_weights_sha256 is
    'sha256 of the file with the initial weights; null for random weights and for weights that keras.applications '
    'downloaded.';
comment on column training_run.recipe_override is
    'Values of this run that differ from the recipe file; {} without overrides.';

create table model_version (
    model_version_id           bigint generated always as identity primary key,
    model_name                 text not null unique,
    training_run_id            bigint not null references training_run,
    backbone                   text not null,
    precision                  text not null,
    image_size                 integer not null,
    preprocessing              text not null,
    count_parameter            bigint not null,
    artifact_uri               text not null,
    artifact_sha256s           jsonb not null,
    temperature                double precision not null check (temperature > 0),
    created_at                 timestamptz not null default now(),
    parent_model_version_id    bigint references model_version,
    out_of_distribution_above  double precision,
    prediction_sets            jsonb,
    unique (training_run_id, precision)
);
comment on table model_version is 'One row per immutable trained artifact.';
comment on column model_version.model_version_id is 'Number of the model version.';
comment on column model_version.model_name is 'Name of the model, for people and commands.';
comment on column model_version.training_run_id is 'Training run of the model.';
comment on column model_version.backbone is 'Network below the head, such as resnet50.';
comment on column model_version.precision is 'fp32 or int8.';
comment on column model_version.image_size is 'Width and height of the input in pixels.';
comment on column model_version.preprocessing is 'Version of the preprocessing.';
comment on column model_version.count_parameter is 'Weights of the whole network.';
comment on column model_version.artifact_uri is 'S3 prefix of the model files.';
comment on column model_version.artifact_sha256s is 'File name -> sha256. Each file is verified before it is loaded.';
comment on column model_version.temperature is 'Divisor of the logits before the softmax.';
comment on column model_version.created_at is 'Time when the model was registered.';
comment on column model_version.parent_model_version_id is
    'The fp32 version of an int8 export, or the model that was recalibrated; null for a trained model.';
comment on column model_version.out_of_distribution_above is
    'Scores above it have the review reason out_of_distribution; null if the model has no reference embeddings.';
comment on column model_version.prediction_sets is
    'Thresholds of the prediction sets: coverage (the target for each class in new groups), lowest_probability (class '
    '-> lowest probability with which a set contains the class), count_group (class -> groups of the fit) and '
    'fitted_on (validation or audit sample); null if the model has no prediction sets.';

-- Evaluation ----------------------------------------------------------------------------------------------------------

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
    evaluated_at                timestamptz not null default now(),
    uncalibrated_error          double precision,
    images_per_second           double precision,
    measured_on                 text,
    unique (model_version_id, snapshot_id, split)
);
comment on table evaluation is 'One row per model version, snapshot and split.';
comment on column evaluation.evaluation_id is 'Number of the evaluation.';
comment on column evaluation.model_version_id is 'The evaluated model.';
comment on column evaluation.snapshot_id is 'Snapshot with the images.';
comment on column evaluation.split is 'Split of the snapshot.';
comment on column evaluation.count_image is 'Evaluated images.';
comment on column evaluation.accuracy is 'Share of correct predictions.';
comment on column evaluation.accuracy_low is 'Lower end of the 95% Wilson interval of the accuracy.';
comment on column evaluation.accuracy_high is 'Upper end of the 95% Wilson interval of the accuracy.';
comment on column evaluation.macro_precision is 'Mean precision of the classes.';
comment on column evaluation.macro_recall is 'Mean recall of the classes.';
comment on column evaluation.macro_f1 is 'Mean F1 of the classes.';
comment on column evaluation.tumor_sensitivity is 'Share of the tumor images with a prediction of any tumor.';
comment on column evaluation.expected_calibration_error is
    'Mean distance between confidence and accuracy, after temperature scaling.';
comment on column evaluation.log_loss is 'Mean negative log of the true class''s probability.';
comment on column evaluation.evaluated_at is 'Time of the first evaluation.';
comment on column evaluation.uncalibrated_error is
    'Expected calibration error before temperature scaling; null if it was not computed.';
comment on column evaluation.images_per_second is
    'Throughput of the exported graph over the images of the split, by wall time.';
comment on column evaluation.measured_on is 'Backend, processor and threads of images_per_second.';

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
comment on column evaluation_class.evaluation_id is 'The evaluation.';
comment on column evaluation_class.label is 'The class.';
comment on column evaluation_class.precision is
    'Share of correct predictions among predictions of this class; null without such a prediction.';
comment on column evaluation_class.recall is
    'Share of correct predictions among images of this class (sensitivity); null without such an image.';
comment on column evaluation_class.specificity is 'Share of the other images that are predicted as another class.';
comment on column evaluation_class.f1 is 'Harmonic mean of precision and recall.';
comment on column evaluation_class.auroc is
    'Area under the receiver operating characteristic, this class against the others.';
comment on column evaluation_class.support is 'Images of this class.';

create table confusion_cell (
    evaluation_id    bigint not null references evaluation,
    label            tumor_class not null,
    predicted_class  tumor_class not null,
    count_image      integer not null,
    primary key (evaluation_id, label, predicted_class)
);
comment on table confusion_cell is 'One row per evaluation, true class and predicted class.';
comment on column confusion_cell.evaluation_id is 'The evaluation.';
comment on column confusion_cell.label is 'True class.';
comment on column confusion_cell.predicted_class is 'Predicted class.';
comment on column confusion_cell.count_image is 'Images with both.';

create table test_prediction (
    evaluation_id            bigint not null references evaluation,
    image_sha256             text not null,
    label                    tumor_class not null,
    predicted_class          tumor_class not null,
    probability_glioma       real not null,
    probability_meningioma   real not null,
    probability_normal       real not null,
    probability_pituitary    real not null,
    nearest_training_sha256  text,
    nearest_distance         integer,
    primary key (evaluation_id, image_sha256)
);
comment on table test_prediction is 'One row per evaluation and image. Paired tests compare these rows.';
comment on column test_prediction.evaluation_id is 'The evaluation.';
comment on column test_prediction.image_sha256 is 'sha256 of the file.';
comment on column test_prediction.label is 'True class.';
comment on column test_prediction.predicted_class is 'Class of the highest probability.';
comment on column test_prediction.probability_glioma is 'Probability of glioma, after temperature scaling.';
comment on column test_prediction.probability_meningioma is 'Probability of meningioma, after temperature scaling.';
comment on column test_prediction.probability_normal is
    'Probability of none of the three tumors, after temperature scaling.';
comment on column test_prediction.probability_pituitary is 'Probability of pituitary tumor, after temperature scaling.';
comment on column test_prediction.nearest_training_sha256 is 'The most similar training image.';
comment on column test_prediction.nearest_distance is
    'Different bits (of 256) between the perceptual hashes of the two images, over all flips and rotations.';

create table test_set_access (
    evaluation_id  bigint not null references evaluation,
    access_key     text not null,
    accessed_at    timestamptz not null default now(),
    primary key (evaluation_id, access_key)
);
comment on table test_set_access is
    'One row per evaluation of a model on a split. A retry adds no row. Reports show more than one access.';
comment on column test_set_access.evaluation_id is 'The evaluation.';
comment on column test_set_access.access_key is 'Name of the retrain run or command.';
comment on column test_set_access.accessed_at is 'Time of the access.';

create table evaluation_occlusion (
    evaluation_id  bigint not null references evaluation,
    hidden         text not null check (hidden in ('marked', 'elsewhere')),
    count_image    integer not null check (count_image > 0),
    count_changed  integer not null,
    mean_drop      double precision not null,
    primary key (evaluation_id, hidden)
);
comment on table evaluation_occlusion is
    'One row per evaluation on test and occluded region, over correctly classified tumor images. It shows whether the '
    'occlusion changes the prediction.';
comment on column evaluation_occlusion.evaluation_id is 'The evaluation.';
comment on column evaluation_occlusion.hidden is
    'Occluded region: the maximum of the activation map, or a region elsewhere.';
comment on column evaluation_occlusion.count_image is 'Occluded images.';
comment on column evaluation_occlusion.count_changed is 'Of these, images with a changed prediction.';
comment on column evaluation_occlusion.mean_drop is
    'Mean decrease of the predicted class''s probability; negative for an increase.';

create table evaluation_slice (
    evaluation_id  bigint not null references evaluation,
    attribute      text not null,
    value          text not null,
    count_image    integer not null check (count_image > 0),
    count_group    integer not null check (count_group > 0),
    count_correct  integer not null,
    accuracy_low   double precision,
    accuracy_high  double precision,
    primary key (evaluation_id, attribute, value)
);
comment on table evaluation_slice is
    'One row per evaluation on test, attribute and value. Slices below 20 groups of images have counts but no assessment.';
comment on column evaluation_slice.evaluation_id is 'The evaluation.';
comment on column evaluation_slice.attribute is 'Attribute of the images, such as sex.';
comment on column evaluation_slice.value is 'Value of the attribute.';
comment on column evaluation_slice.count_image is 'Images of the slice.';
comment on column evaluation_slice.count_group is
    'Groups of related images of the slice. A group has the images of one patient, or near-duplicates.';
comment on column evaluation_slice.count_correct is 'Images with a correct prediction.';
comment on column evaluation_slice.accuracy_low is
    'Lower end of the accuracy''s 95% interval, clustered by group; null below 20 groups.';
comment on column evaluation_slice.accuracy_high is
    'Upper end of the accuracy''s 95% interval, clustered by group; null below 20 groups.';

-- Promotions ----------------------------------------------------------------------------------------------------------

-- A verdict holds against one champion. A run's candidate is judged again after the champion has changed.
create table gate_verdict (
    gate_verdict_id             bigint generated always as identity primary key,
    run_key                     text not null,
    model_version_id            bigint not null references model_version,
    champion_model_version_id   bigint references model_version,
    reference_model_version_id  bigint references model_version,
    is_passed                   boolean not null,
    rules                       jsonb not null,
    summary                     text not null,
    count_judged                integer,
    champion_optimism           double precision,
    judged_at                   timestamptz not null default now(),
    unique nulls not distinct (run_key, champion_model_version_id)
);
comment on table gate_verdict is
    'One row per retrain run and champion: the run''s candidate, and the result of each gate rule.';
comment on column gate_verdict.gate_verdict_id is 'Number of the verdict.';
comment on column gate_verdict.run_key is 'Name of the retrain run.';
comment on column gate_verdict.model_version_id is 'The candidate.';
comment on column gate_verdict.champion_model_version_id is
    'Champion at that time, null without one. The verdict promotes nothing after the champion has changed.';
comment on column gate_verdict.reference_model_version_id is
    'Reference model of the comparison; null if it was not assessed.';
comment on column gate_verdict.is_passed is 'Whether the candidate passed every rule.';
comment on column gate_verdict.rules is 'Each rule: name, whether it passed, and the reason.';
comment on column gate_verdict.summary is 'The verdict in one sentence.';
comment on column gate_verdict.count_judged is
    'Candidates that the gate judged on this test split until then, with this one; null if they were not counted.';
comment on column gate_verdict.champion_optimism is
    'Largest expected excess of the champion''s test accuracy because of repeated use of the split, as a share; null if '
    'it was not assessed.';
comment on column gate_verdict.judged_at is 'Time of the verdict.';

create table approval_decision (
    gate_verdict_id  bigint not null references gate_verdict,
    answered_at      timestamptz not null,
    answer           text not null check (answer in ('approve', 'reject')),
    person           text not null check (person <> ''),
    recorded_at      timestamptz not null default now(),
    primary key (gate_verdict_id, answered_at)
);
comment on table approval_decision is
    'Append-only: one row per decision of an approver about a candidate that passed the gate.';
comment on column approval_decision.gate_verdict_id is 'The verdict on the candidate.';
comment on column approval_decision.answered_at is 'Time of the decision.';
comment on column approval_decision.answer is 'approve or reject.';
comment on column approval_decision.person is
    'User name of the approver. After a timeout, which counts as a rejection, it says so.';
comment on column approval_decision.recorded_at is 'Time when the decision was stored.';
create trigger approval_decision_is_append_only before update or delete on approval_decision
    for each row execute function refuse_change();
create trigger approval_decision_is_never_truncated before truncate on approval_decision
    for each statement execute function refuse_change();

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
comment on table promotion is
    'Append-only: one row per change of the champion. The champion is the model of the newest row, unless it was '
    'withdrawn later.';
comment on column promotion.promotion_id is 'Number of the promotion. The highest is the newest.';
comment on column promotion.request_key is
    'Name of the request (a retrain run or a command), so that a retry adds no row.';
comment on column promotion.action is 'promote or rollback.';
comment on column promotion.model_version_id is 'The new champion.';
comment on column promotion.gate_verdict_id is 'The verdict that the model passed; null for an override or a rollback.';
comment on column promotion.is_override is
    'Whether the model was promoted without a passed gate or after a withdrawal. A rollback to such a promotion keeps '
    'the value.';
comment on column promotion.actor is 'The operator, or the DAG by its policy.';
comment on column promotion.reason is 'Reason, in the operator''s words.';
comment on column promotion.promoted_at is 'Time of the promotion.';
create trigger promotion_is_append_only before update or delete on promotion
    for each row execute function refuse_change();
create trigger promotion_is_never_truncated before truncate on promotion
    for each statement execute function refuse_change();

create table withdrawal (
    withdrawal_id       bigint generated always as identity primary key,
    model_version_id    bigint not null references model_version,
    after_promotion_id  bigint references promotion,
    actor               text not null,
    reason              text not null check (reason <> ''),
    withdrawn_at        timestamptz not null default clock_timestamp()
);
comment on table withdrawal is
    'Append-only: one row per withdrawal of a model. It is in force until the model is promoted again by an override.';
comment on column withdrawal.withdrawal_id is 'Number of the withdrawal. The highest is the newest.';
comment on column withdrawal.model_version_id is 'The withdrawn model.';
comment on column withdrawal.after_promotion_id is 'Newest promotion at that time; null without one.';
comment on column withdrawal.actor is 'The operator.';
comment on column withdrawal.reason is 'Reason, in the operator''s words.';
comment on column withdrawal.withdrawn_at is 'Time of the withdrawal.';
create trigger withdrawal_is_append_only before update or delete on withdrawal
    for each row execute function refuse_change();
create trigger withdrawal_is_never_truncated before truncate on withdrawal
    for each statement execute function refuse_change();

create table reference_model (
    reference_model_id  bigint generated always as identity primary key,
    model_version_id    bigint not null references model_version,
    actor               text not null check (actor <> ''),
    reason              text not null check (reason <> ''),
    named_at            timestamptz not null default clock_timestamp()
);
comment on table reference_model is
    'Append-only: one row per choice of the gate''s reference model, by the gate or by a person. The newest row counts, '
    'unless its model was withdrawn.';
comment on column reference_model.reference_model_id is 'Number of the choice. The highest is the newest.';
comment on column reference_model.model_version_id is 'The reference model.';
comment on column reference_model.actor is 'The person, or gate.';
comment on column reference_model.reason is 'Reason for the choice.';
comment on column reference_model.named_at is 'Time of the choice.';
create trigger reference_model_is_append_only before update or delete on reference_model
    for each row execute function refuse_change();
create trigger reference_model_is_never_truncated before truncate on reference_model
    for each statement execute function refuse_change();

create table pruning (
    model_version_id  bigint primary key references model_version,
    actor             text not null,
    reason            text not null check (reason <> ''),
    pruned_at         timestamptz not null default clock_timestamp()
);
comment on table pruning is
    'Append-only: one row per model with deleted files. The row is written before the files are deleted, so the model '
    'cannot be promoted meanwhile.';
comment on column pruning.model_version_id is 'The model.';
comment on column pruning.actor is 'The operator.';
comment on column pruning.reason is 'Reason, in the operator''s words.';
comment on column pruning.pruned_at is 'Time of the row.';
create trigger pruning_is_append_only before update or delete on pruning
    for each row execute function refuse_change();
create trigger pruning_is_never_truncated before truncate on pruning
    for each statement execute function refuse_change();

-- Scans and scoring runs ----------------------------------------------------------------------------------------------

create table scoring_run (
    scoring_run_id           bigint generated always as identity primary key,
    run_key                  text not null unique,
    scans_uri                text,
    model_version_id         bigint not null references model_version,
    engine                   text not null,
    state                    run_state not null default 'running',
    count_seen               integer,
    count_new                integer,
    count_scored             integer,
    count_known              integer,
    count_rejected           integer,
    count_ignored            integer,
    count_deferred           integer,
    count_superseded         integer,
    count_unaccounted        integer,
    started_at               timestamptz not null default now(),
    listed_at                timestamptz,
    finished_at              timestamptz,
    planned_at               timestamptz,
    kind                     run_kind not null default 'night',
    second_model_version_id  bigint references model_version,
    count_changed            integer,
    count_unsupported        integer,
    count_retried            integer,
    count_erased             integer,
    count_unusable_key       integer,
    check ((kind = 'night') = (scans_uri is not null)),
    unique (scoring_run_id, model_version_id)
);
comment on table scoring_run is
    'One row per scoring run or rescore, with its pinned model. A scoring run has the counts of its balance too.';
comment on column scoring_run.scoring_run_id is 'Number of the run. A later run has a higher number.';
comment on column scoring_run.run_key is 'Name of the DAG run or command, so that a retry finds its row.';
comment on column scoring_run.scans_uri is
    'Listed prefixes of a scoring run, each with a final /, sorted and joined by commas; null for a rescore.';
comment on column scoring_run.model_version_id is 'Model of the run, pinned at its start.';
comment on column scoring_run.engine is 'Inference backend of the run, such as openvino-cpu.';
comment on column scoring_run.state is 'running, balanced or unbalanced.';
comment on column scoring_run.count_seen is
    'Objects under the prefixes, counted by the lister and stored before scoring starts.';
comment on column scoring_run.count_new is
    'Of these, objects to score at a new key. If count_changed is null, it includes the next three kinds.';
comment on column scoring_run.count_scored is 'Objects scored in this run, by its last reconciliation.';
comment on column scoring_run.count_known is 'Objects processed by an earlier run.';
comment on column scoring_run.count_rejected is 'Objects rejected in this run.';
comment on column scoring_run.count_ignored is 'Objects that are no scans by rule.';
comment on column scoring_run.count_deferred is 'Objects deferred to a later run.';
comment on column scoring_run.count_superseded is 'Objects overwritten or removed after they were listed.';
comment on column scoring_run.count_unaccounted is
    'Listed objects without a recorded outcome. More than 0 makes the run status red.';
comment on column scoring_run.started_at is 'Start of the run.';
comment on column scoring_run.listed_at is 'Time when the listing was stored; null before.';
comment on column scoring_run.finished_at is 'Time of the last reconciliation; null before.';
comment on column scoring_run.planned_at is
    'Time when the pending scans were divided into chunks; null if they never were, which makes the run status red.';
comment on column scoring_run.kind is
    'night: a scoring run, which lists prefixes for new scans. rescore: scores scans that have a prediction (see '
    'rescore_run).';
comment on column scoring_run.second_model_version_id is 'Second model of the run; null without one.';
comment on column scoring_run.count_changed is
    'Of count_seen, new object versions at a known key: overwritten objects.';
comment on column scoring_run.count_unsupported is
    'Of count_seen, new objects that are no scans by rule, such as folder markers. They are ignored.';
comment on column scoring_run.count_retried is
    'Of count_seen, scans of earlier runs to score again: pending, requeued, refused by S3, or superseded and present '
    'again.';
comment on column scoring_run.count_erased is
    'Listed objects whose rows were erased later with their patient; null if the run was not reconciled since.';
comment on column scoring_run.count_unusable_key is
    'Of count_seen, objects with a key that Postgres cannot store. They are ignored. Null if they were not counted.';

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
comment on table scoring_chunk is
    'One row per chunk of a run: scans that one worker claims, scores and commits together.';
comment on column scoring_chunk.scoring_run_id is 'The run.';
comment on column scoring_chunk.chunk_number is 'Number of the chunk in the run, from 0.';
comment on column scoring_chunk.count_scan is 'Scans planned into the chunk.';
comment on column scoring_chunk.attempt is 'Fencing token: only the newest attempt can commit.';
comment on column scoring_chunk.lease_expires_at is
    'End of the worker''s lease, by the clock of the database; null without a lease.';
comment on column scoring_chunk.finished_at is 'Time when the chunk was committed; null before.';
comment on column scoring_chunk.stage_seconds is 'Seconds of the worker by stage: reading and inference.';

create table scan (
    scan_id            bigint generated always as identity primary key,
    state              scan_state not null default 'pending',
    scoring_run_id     bigint not null references scoring_run,
    chunk_number       integer,
    count_attempt      integer not null default 0,
    count_frame        integer,
    size_bytes         bigint not null,
    format             text,
    content_sha256     text,
    pixel_sha256       text,
    study_pseudonym    text,
    series_pseudonym   text,
    patient_pseudonym  text,
    arrived_at         timestamptz not null,
    discovered_at      timestamptz not null default now(),
    processed_at       timestamptz,
    isolated_attempts  integer not null default 0,
    audit_probability  real check (audit_probability > 0 and audit_probability <= 1),
    site_pseudonym     text,
    station_pseudonym  text,
    manufacturer       text,
    device_model       text,
    field_strength     text,
    sequence_family    text,
    age_band           text,
    sex                text,
    is_replaced        boolean not null default false,
    foreign key (scoring_run_id, chunk_number) references scoring_chunk
);
comment on table scan is 'One row per S3 object version that any run has listed.';
comment on column scan.scan_id is 'Number of the scan, used by people, logs and pages.';
comment on column scan.state is 'pending, scored, rejected, ignored or superseded.';
comment on column scan.scoring_run_id is 'Last run that planned the scan. After processing, the run that processed it.';
comment on column scan.chunk_number is 'Chunk of that run; null if the scan was not planned.';
comment on column scan.count_attempt is 'Times that a worker claimed the scan.';
comment on column scan.count_frame is 'Scored frames; null without any.';
comment on column scan.size_bytes is 'Size of the object, as listed.';
comment on column scan.format is 'Format of the file by its content, such as jpeg or dicom; null until it is scored.';
comment on column scan.content_sha256 is 'sha256 of the object''s bytes; null until it is scored.';
comment on column scan.pixel_sha256 is
    'sha256 of the pixels of all frames. The same image in another file has the same value.';
comment on column scan.study_pseudonym is 'Keyed pseudonym of the StudyInstanceUID; null without one.';
comment on column scan.series_pseudonym is 'Keyed pseudonym of the SeriesInstanceUID; null without one.';
comment on column scan.patient_pseudonym is 'Keyed pseudonym of the PatientID; null without one.';
comment on column scan.arrived_at is 'Last write of the object, by S3.';
comment on column scan.discovered_at is 'Time when a run listed the scan first.';
comment on column scan.processed_at is 'Time when the scan was processed; null while it is pending.';
comment on column scan.isolated_attempts is
    'Times that a worker claimed the scan alone, after a worker had crashed on its chunk. After 3 crashes it is '
    'rejected.';
comment on column scan.audit_probability is
    'Probability with which the scan was drawn into the audit sample before it was scored; null if it was not drawn.';
comment on column scan.site_pseudonym is
    'Keyed pseudonym of the InstitutionName; null without one. This and the next columns are only for DICOM.';
comment on column scan.station_pseudonym is 'Keyed pseudonym of InstitutionName and StationName; null without a station.';
comment on column scan.manufacturer is 'Vendor of the scanner, such as siemens or other; null without one.';
comment on column scan.device_model is
    'Model of the scanner in small letters; null without one and for a name that could number or name a person.';
comment on column scan.field_strength is 'Nominal field strength, such as 1.5 T; null if the header has no clear one.';
comment on column scan.sequence_family is
    'T1, T1 with contrast, T2, FLAIR or other, by the rule of decision 0049; null if the header states no sequence.';
comment on column scan.age_band is 'Decade of the patient''s age, such as 40 to 49; the last is 90 and over.';
comment on column scan.sex is 'M, F or O; null without one.';
comment on column scan.is_replaced is 'Whether a listing found a later version of the object, which is a scan of its own.';
create index scan_pending on scan (scan_id) where state = 'pending';  -- the plan reads only these
create index scan_replaced on scan (scan_id) where is_replaced;  -- a listing looks for versions that are present again
create index scan_by_chunk on scan (scoring_run_id, chunk_number);  -- a worker claims a chunk's scans
create index scan_by_content on scan (content_sha256) where content_sha256 is not null;  -- duplicates of the same bytes
create index scan_by_pixels on scan (pixel_sha256) where patient_pseudonym is not null;  -- cross_patient_duplicate_pair
create index scan_by_processing on scan (processed_at desc, scan_id desc) where state = 'scored';  -- previews
create index scan_by_series on scan (series_pseudonym) where series_pseudonym is not null;  -- neighboring slices
create index scan_in_audit_sample on scan (scan_id) where audit_probability is not null;  -- blind reading

create table scan_location (
    scan_id  bigint primary key references scan,
    bucket   text not null,
    key      text not null,
    etag     text not null,
    unique (bucket, key, etag)
);
comment on table scan_location is
    'One row per scan: its S3 object. Keys can identify patients. The scorer and the review pages read them. The '
    'trainer reads keys of reviewed scans by reviewed_location.';
comment on column scan_location.scan_id is 'The scan.';
comment on column scan_location.bucket is 'S3 bucket.';
comment on column scan_location.key is 'Object key. It can identify a patient.';
comment on column scan_location.etag is 'Version of the object.';

-- Without foreign keys: the inserting statement has just read both rows, and checks would double the time of a listing.
-- The balance still finds a missing scan: its row here has no outcome.
create table scoring_run_object (
    scoring_run_id  bigint not null,
    scan_id         bigint not null,
    is_known        boolean,
    primary key (scoring_run_id, scan_id)
);
comment on table scoring_run_object is 'One row per object that a scoring run listed. The balance counts these rows.';
comment on column scoring_run_object.scoring_run_id is 'The scoring run.';
comment on column scoring_run_object.scan_id is 'The scan.';
comment on column scoring_run_object.is_known is
    'Whether an earlier run had processed the scan when this run listed it. Null if it was not recorded.';

create table scan_outcome (
    scoring_run_id  bigint not null,
    scan_id         bigint not null,
    outcome         text not null
        check (outcome in ('scored', 'rejected', 'ignored', 'superseded', 'deferred', 'known')),
    primary key (scoring_run_id, scan_id)
);
comment on table scan_outcome is
    'One row per scoring run and scan: the outcome of the scan in that run. Later runs do not change it.';
comment on column scan_outcome.scoring_run_id is 'The scoring run.';
comment on column scan_outcome.scan_id is
    'The scan. There is no foreign key, as in scoring_run_object, because it costs time.';
comment on column scan_outcome.outcome is
    'scored, rejected, ignored, superseded or deferred by this run; or known, because another run processed it first.';

create table rejection (
    scan_id         bigint not null references scan,
    scoring_run_id  bigint not null references scoring_run,
    reason          text not null,
    detail          text not null,
    rejected_at     timestamptz not null default now(),
    primary key (scan_id, scoring_run_id)
);
comment on table rejection is
    'One row per scan and run that rejected it. scan.state says whether the scan is rejected now.';
comment on column rejection.scan_id is 'The scan.';
comment on column rejection.scoring_run_id is 'The run that rejected the scan.';
comment on column rejection.reason is 'Reason code. The operator''s page lists all codes.';
comment on column rejection.detail is 'Details without identifiers.';
comment on column rejection.rejected_at is 'Time of the rejection.';

create table scan_requeue (
    scan_id         bigint not null references scan,
    scoring_run_id  bigint not null references scoring_run,
    reason          text not null,
    actor           text not null check (actor <> ''),
    requeued_at     timestamptz not null default now(),
    primary key (scan_id, scoring_run_id)
);
comment on table scan_requeue is 'One row per rejected scan that an operator requeued for the next scoring run.';
comment on column scan_requeue.scan_id is 'The scan.';
comment on column scan_requeue.scoring_run_id is 'The run that had rejected the scan.';
comment on column scan_requeue.reason is 'Reason code of the rejection.';
comment on column scan_requeue.actor is 'Account that ran the command.';
comment on column scan_requeue.requeued_at is 'Time of the command.';

create table scoring_run_summary (
    scoring_run_id  bigint primary key references scoring_run,
    level           run_level not null,
    count_arrived   integer not null,
    count_expected  double precision,
    reasons         text[] not null,
    judged_at       timestamptz not null default now(),
    drift           jsonb not null default '[]',
    drop_evidence   double precision
);
comment on table scoring_run_summary is 'One row per scoring run with a run status: its level and the reasons.';
comment on column scoring_run_summary.scoring_run_id is 'The scoring run.';
comment on column scoring_run_summary.level is 'The worst level of a reason; green without reasons.';
comment on column scoring_run_summary.count_arrived is
    'New object versions under the prefixes on the run''s day (BRAINTUMOR_TIMEZONE), over all runs of that day so '
    'far.';
comment on column scoring_run_summary.count_expected is
    'Median of count_arrived over the last 7 earlier days with a run of the prefixes; null with fewer than 5 such '
    'days.';
comment on column scoring_run_summary.reasons is 'One sentence per red or amber condition; empty when green.';
comment on column scoring_run_summary.judged_at is
    'Time of the last judgment. Each reconciliation of the run judges again.';
comment on column scoring_run_summary.drift is
    'One object per reference (recent runs of the site, the model''s test split): reference, count_reference, and the '
    'population stability index of_class (recent runs only) and of_confidence. Null means not assessed. Empty if '
    'drift was not computed.';
comment on column scoring_run_summary.drop_evidence is
    'Evidence of this year that the live accuracy is too low (largest wealth of bets). 20 or more makes the run amber. '
    'Null if no audited scan was assessed.';

create table live_accuracy_figure (
    scoring_run_id   bigint not null references scoring_run,
    figure           accuracy_figure not null,
    class            tumor_class,
    value            double precision,
    low              double precision,
    high             double precision,
    not_assessed     text,
    count_drawn      integer,
    count_read       integer,
    count_settled    integer not null,
    count_conflict   integer,
    count_undecided  integer,
    estimated_at     timestamptz not null default now(),
    unique nulls not distinct (scoring_run_id, figure, class),
    check ((value is null) = (not_assessed is not null))
);
comment on table live_accuracy_figure is
    'One row per scoring run and figure of the live accuracy of its model, estimated from the audit sample of the 90 '
    'days before.';
comment on column live_accuracy_figure.scoring_run_id is 'The scoring run that made the estimate at its end.';
comment on column live_accuracy_figure.figure is
    'scan: share of correct scans. scan, corrected: the same without the errors of reviewers. patient: mean of the '
    'patients'' shares. two readers: share of scans in which two blind reviewers find the same. predicted class: share '
    'of correct scans among those predicted as class. finding: among those in which reviewers find class.';
comment on column live_accuracy_figure.class is 'The class of a predicted class or finding; null for other figures.';
comment on column live_accuracy_figure.value is
    'Estimated share of correct predictions, 0 to 1; null if it was not assessed.';
comment on column live_accuracy_figure.low is 'Lower end of the 95% interval, clustered by patient or scan.';
comment on column live_accuracy_figure.high is 'Upper end of the 95% interval, clustered by patient or scan.';
comment on column live_accuracy_figure.not_assessed is 'Reason for having no estimate; null with an estimate.';
comment on column live_accuracy_figure.count_drawn is
    'Scans that were drawn into the audit sample; null for a finding, two readers and scan, corrected.';
comment on column live_accuracy_figure.count_read is
    'Of these, scans with a blind review; null if count_drawn is null.';
comment on column live_accuracy_figure.count_settled is
    'Of these, scans on which the blind reviewers agree, or an adjudication decided. For finding, two readers and scan, '
    'corrected: the scans that the estimate uses.';
comment on column live_accuracy_figure.count_conflict is
    'Of those read, scans on which blind reviewers disagree. The estimate uses their first finding. Null if count_drawn is '
    'null.';
comment on column live_accuracy_figure.count_undecided is
    'Of those read, scans with cannot_tell or unusable_image only; null if count_drawn is null.';
comment on column live_accuracy_figure.estimated_at is 'Time of the estimate.';

-- Predictions ---------------------------------------------------------------------------------------------------------

-- One foreign key to the run and its model costs less time during COPY than two, and ensures that both agree.
create table prediction (
    scan_id                 bigint not null references scan,
    frame_index             integer not null,
    model_version_id        bigint not null,
    scoring_run_id          bigint not null,
    predicted_class         tumor_class not null,
    confidence              real not null check (confidence between 0 and 1),
    margin                  real not null check (margin between 0 and 1),
    probability_glioma      real not null,
    probability_meningioma  real not null,
    probability_normal      real not null,
    probability_pituitary   real not null,
    prediction_set          tumor_class[],
    review_reasons          text[] not null,
    activation_map          bytea not null,
    engine                  text not null,
    preprocessing           text not null,
    scored_at               timestamptz not null default now(),
    out_of_distribution     real,
    second_class            tumor_class,
    second_confidence       real,
    copied_from_scan_id     bigint references scan,
    risk_rank               smallint not null generated always as (
        case
            when 'out_of_distribution' = any(review_reasons) then 3
            when 'model_disagreement' = any(review_reasons) then 5
            when 'several_classes' = any(review_reasons) then 6
            when 'no_likely_class' = any(review_reasons) then 7
            when predicted_class <> 'normal' then 8
            else 9
        end) stored,
    is_settled              boolean not null default false,
    is_conflict             boolean not null default false,
    is_scan_judged          boolean not null default false,
    primary key (scan_id, frame_index, model_version_id),
    check (abs(probability_glioma + probability_meningioma + probability_normal + probability_pituitary - 1) < 1e-3),
    constraint prediction_second_check check ((second_class is null) = (second_confidence is null)),
    foreign key (scoring_run_id, model_version_id) references scoring_run (scoring_run_id, model_version_id) deferrable
);
comment on table prediction is 'One row per frame and model version. For review, not for diagnosis.';
comment on column prediction.scan_id is 'The scan.';
comment on column prediction.frame_index is 'Index of the frame in its file, from 0.';
comment on column prediction.model_version_id is 'The model of the prediction.';
comment on column prediction.scoring_run_id is 'The scoring run or rescore that wrote the prediction.';
comment on column prediction.predicted_class is 'Class of the highest probability.';
comment on column prediction.confidence is 'The highest of the four probabilities.';
comment on column prediction.margin is 'Confidence minus the second largest probability.';
comment on column prediction.probability_glioma is 'Probability of glioma, after temperature scaling.';
comment on column prediction.probability_meningioma is 'Probability of meningioma, after temperature scaling.';
comment on column prediction.probability_normal is
    'Probability of none of the three tumors, after temperature scaling.';
comment on column prediction.probability_pituitary is 'Probability of pituitary tumor, after temperature scaling.';
comment on column prediction.prediction_set is
    'Classes that the probabilities do not rule out, in the order of the type; {} if all are ruled out; null if the '
    'model has no prediction sets. For a new patient of any class, the set contains this class with the probability '
    'model_version.prediction_sets -> coverage. A set of one class is predicted_class.';
comment on column prediction.review_reasons is 'Reasons for a review, as written at scoring; empty without one.';
comment on column prediction.activation_map is
    'Class activation map of the predicted class: square, row-major float16 (little endian), logits.';
comment on column prediction.engine is 'Inference backend, such as openvino-cpu.';
comment on column prediction.preprocessing is 'Version of the preprocessing.';
comment on column prediction.scored_at is 'Time when the prediction was written.';
comment on column prediction.out_of_distribution is
    'Mean cosine distance (0 to 2) to the 5 nearest embeddings of training images; null if the model has no reference '
    'embeddings. Comparable within one model, not between models.';
comment on column prediction.second_class is
    'Class predicted by the run''s second model; null without one. If it differs, review_reasons has '
    'model_disagreement.';
comment on column prediction.second_confidence is 'Probability of second_class by the second model.';
comment on column prediction.copied_from_scan_id is
    'Scan with the same bytes whose prediction was copied; null if the model ran on this scan.';
comment on column prediction.risk_rank is
    'Rank on the worklist at scoring, lowest first: out_of_distribution 3, model_disagreement 5, '
    'several_classes 6, no_likely_class 7, another tumor 8, another normal 9. review_worklist.risk_rank adds 1, 2 and 4.';
comment on column prediction.is_settled is
    'Whether reviewers have settled the frame, by frame_consensus. Triggers on review and review_retraction maintain '
    'it, so that the worklist index has only open frames.';
comment on column prediction.is_conflict is
    'Whether reviewers disagree about the frame, by frame_consensus. Maintained like is_settled.';
comment on column prediction.is_scan_judged is
    'Whether a reviewer has judged a frame of the scan: a finding other than cannot_tell and unusable_image. Then its '
    'other frames leave the worklist. Maintained like is_settled.';
create index prediction_by_run on prediction (scoring_run_id);  -- a run's rows
create index prediction_by_date on prediction (((scored_at at time zone 'utc')::date));  -- daily_summary
-- The next two serve worklist_page.
create index prediction_by_risk on prediction (model_version_id, risk_rank, confidence)
    where not is_settled and not is_scan_judged;
create index prediction_in_conflict on prediction (scan_id, frame_index) where is_conflict;
-- For erase_subject.
create index copied_prediction on prediction (copied_from_scan_id) where copied_from_scan_id is not null;

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
    out_of_distribution     real,
    primary key (model_version_id, scan_id, frame_index),
    check (abs(probability_glioma + probability_meningioma + probability_normal + probability_pituitary - 1) < 1e-3)
);
comment on table shadow_prediction is
    'One row per frame and model version: the prediction of a model that was not the champion, for a preview. No view '
    'reads it.';
comment on column shadow_prediction.scan_id is 'The scan.';
comment on column shadow_prediction.frame_index is 'Index of the frame in its file, from 0.';
comment on column shadow_prediction.model_version_id is 'The model of the prediction.';
comment on column shadow_prediction.run_key is 'Name of the first retrain run or command that requested it.';
comment on column shadow_prediction.predicted_class is 'Class of the highest probability.';
comment on column shadow_prediction.confidence is 'The highest of the four probabilities.';
comment on column shadow_prediction.probability_glioma is 'Probability of glioma, after temperature scaling.';
comment on column shadow_prediction.probability_meningioma is 'Probability of meningioma, after temperature scaling.';
comment on column shadow_prediction.probability_normal is
    'Probability of none of the three tumors, after temperature scaling.';
comment on column shadow_prediction.probability_pituitary is
    'Probability of pituitary tumor, after temperature scaling.';
comment on column shadow_prediction.activation_map is
    'Class activation map of the predicted class: square, row-major float16 (little endian), logits.';
comment on column shadow_prediction.scored_at is 'Time when the prediction was written.';
comment on column shadow_prediction.out_of_distribution is 'Like prediction.out_of_distribution.';

create table cross_patient_duplicate (
    scan_id  bigint primary key references scan on delete cascade
);
comment on table cross_patient_duplicate is
    'One row per scan that cross_patient_duplicate_pair listed at the reconciliation of a run. worklist_page looks '
    'here first, because comparing all scans takes seconds. The view decides whether a scan still counts.';
comment on column cross_patient_duplicate.scan_id is 'The scan.';

-- Rescoring -----------------------------------------------------------------------------------------------------------

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
    'Append-only: one row per rescore, which approves the model''s predictions as current predictions.';
comment on column rescore_run.scoring_run_id is 'The run.';
comment on column rescore_run.is_champion is
    'Whether the model was champion at the request. Another model needs an explicit approval.';
comment on column rescore_run.actor is 'Operator of the request.';
comment on column rescore_run.reason is 'Reason, in the operator''s words.';
comment on column rescore_run.asked_for is
    'Selection: models of the current predictions, first and last scoring time, and number of scans.';
comment on column rescore_run.count_matching is
    'Scans that match the selection; more than count_asked if a limit excluded some.';
comment on column rescore_run.count_asked is
    'Scans of the rescore, stored before scoring starts. The balance must account for all of them.';
comment on column rescore_run.asked_at is 'Time of the request.';
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
    processed_at             timestamptz,
    primary key (scoring_run_id, scan_id)
);
comment on table rescore is 'One row per rescore and scan. The balance of the rescore counts these rows.';
comment on column rescore.scoring_run_id is 'The rescore.';
comment on column rescore.scan_id is 'The scan.';
comment on column rescore.chunk_number is 'Chunk of the run, from 0.';
comment on column rescore.before_model_version_id is 'Model of the current prediction at the request.';
comment on column rescore.state is
    'rescored: has new predictions. already_scored: the model had predicted the scan before, and that prediction is '
    'current again. gone, refused, unreadable, failed: the earlier prediction stays current.';
comment on column rescore.count_taken is
    'Workers that claimed the scan without finishing. After a crash the scan is claimed alone, and after 3 crashes it '
    'is failed.';
comment on column rescore.processed_at is 'Time when the scan was processed; null while it is pending.';
create index rescore_by_chunk on rescore (scoring_run_id, chunk_number);  -- a worker claims a chunk's scans
create index rescore_by_scan on rescore (scan_id, state);  -- current_prediction

-- Review --------------------------------------------------------------------------------------------------------------

create table review_session (
    review_session_id  bigint generated always as identity primary key,
    reviewer           text not null check (reviewer <> ''),
    minutes            integer not null check (minutes between 1 and 480),
    started_at         timestamptz not null default now()
);
comment on table review_session is 'One row per review session: the reviewer and the time budget.';
comment on column review_session.review_session_id is 'Number of the session.';
comment on column review_session.reviewer is 'User name of the reviewer in Airflow.';
comment on column review_session.minutes is 'Time budget of the reviewer. It determines the length of the queue.';
comment on column review_session.started_at is 'Start of the session.';
create index review_session_by_reviewer on review_session (reviewer, review_session_id);  -- a reviewer's newest session

-- Stored before the session starts, because a reload continues at the same item and the browser must not set the purpose.
create table review_session_item (
    review_session_id  bigint not null references review_session,
    place              integer not null check (place >= 0),
    scan_id            bigint not null references scan,
    frame_index        integer not null,
    purpose            review_purpose not null,
    primary key (review_session_id, place),
    unique (review_session_id, scan_id, frame_index)
);
comment on table review_session_item is
    'Append-only: one row per frame in the queue of a review session, including frames that were not reached.';
comment on column review_session_item.review_session_id is 'The session.';
comment on column review_session_item.place is 'Position in the session, from 0.';
comment on column review_session_item.scan_id is 'The scan.';
comment on column review_session_item.frame_index is 'Index of the frame in its file, from 0.';
comment on column review_session_item.purpose is
    'Reason for showing the frame. The page does not show it to the reviewer.';
create trigger review_session_item_is_append_only before update or delete on review_session_item
    for each row execute function refuse_change_but_erasure();
create trigger review_session_item_is_never_truncated before truncate on review_session_item
    for each statement execute function refuse_change();

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
comment on table review is
    'Append-only: one row per decision of a reviewer about one frame, with the model of the current prediction. A '
    'changed decision is a new row.';
comment on column review.review_id is 'Number of the review.';
comment on column review.request_key is 'Key of the page''s form, so that a decision that is sent twice is one row.';
comment on column review.review_session_id is 'The session; null outside a session.';
comment on column review.scan_id is 'The scan.';
comment on column review.frame_index is 'Index of the frame in its file, from 0.';
comment on column review.model_version_id is 'Model of the current prediction at the review.';
comment on column review.reviewer is 'User name of the reviewer in Airflow.';
comment on column review.finding is
    'Finding of the reviewer. normal means none of the three tumors, other_finding anything except these four. '
    'unusable_image and cannot_tell are not counted in any agreement.';
comment on column review.purpose is
    'Reason for showing the frame: risk (its review reasons), audit (drawn at random), repeat (the same reviewer '
    'again, without notice), adjudication (two reviewers disagreed).';
comment on column review.is_blind is 'Whether the page hid the model''s prediction until the decision was saved.';
comment on column review.seconds is 'Seconds from showing the frame to the decision.';
comment on column review.reviewed_at is 'Time of the decision.';
create index review_by_frame on review (scan_id, frame_index);  -- reviews of a frame
create index review_by_reviewer on review (reviewer, reviewed_at);  -- a reviewer's last decisions
create trigger review_is_append_only before update or delete on review
    for each row execute function refuse_change_but_erasure();
create trigger review_is_never_truncated before truncate on review
    for each statement execute function refuse_change();

create table review_retraction (
    review_id     bigint primary key references review,
    retracted_at  timestamptz not null default clock_timestamp()
);
comment on table review_retraction is 'Append-only: one row per review that its reviewer retracted.';
comment on column review_retraction.review_id is 'The retracted review.';
comment on column review_retraction.retracted_at is 'Time of the retraction.';
create trigger review_retraction_is_append_only before update or delete on review_retraction
    for each row execute function refuse_change_but_erasure();
create trigger review_retraction_is_never_truncated before truncate on review_retraction
    for each statement execute function refuse_change();

-- Copies the flags of frame_consensus to the frame's predictions in the reviewer's transaction, and whether a frame
-- was judged to all predictions of the scan. Runs with the owner's rights, because a reviewer cannot change predictions.
create function update_consensus_flags() returns trigger language plpgsql security definer
set search_path = braintumor, pg_temp as $$
declare
    frame record;
begin
    if tg_table_name = 'review' then
        frame := new;
    else
        select * into frame from review where review.review_id = new.review_id;
    end if;
    perform from scan where scan.scan_id = frame.scan_id for no key update;  -- two reviewers at once: one after the other
    update prediction
    set is_settled = consensus.is_settled, is_conflict = consensus.is_conflict
    from (
        select coalesce(bool_or(frame_consensus.is_settled), false) as is_settled,
               coalesce(bool_or(frame_consensus.is_conflict), false) as is_conflict
        from frame_consensus
        where frame_consensus.scan_id = frame.scan_id and frame_consensus.frame_index = frame.frame_index
    ) as consensus
    where prediction.scan_id = frame.scan_id
      and prediction.frame_index = frame.frame_index
      and (prediction.is_settled, prediction.is_conflict) <> (consensus.is_settled, consensus.is_conflict);
    update prediction
    set is_scan_judged = not prediction.is_scan_judged
    where prediction.scan_id = frame.scan_id
      and prediction.is_scan_judged <> exists (
        select from current_review
        where current_review.scan_id = frame.scan_id
          and current_review.finding not in ('cannot_tell', 'unusable_image'));
    return null;
end $$;
create trigger review_updates_consensus_flags after insert on review
    for each row execute function update_consensus_flags();
create trigger review_retraction_updates_consensus_flags after insert on review_retraction
    for each row execute function update_consensus_flags();

create table shown_image (
    request_key  text not null check (request_key <> ''),
    reviewer     text not null check (reviewer <> ''),
    scan_id      bigint not null references scan,
    frame_index  integer not null,
    shown_at     timestamptz not null default clock_timestamp(),
    primary key (request_key, reviewer, scan_id, frame_index)
);
comment on table shown_image is
    'One row per review page and delivered image. Without it the page saves only the finding unusable_image.';
comment on column shown_image.request_key is 'Key of the page''s form. Its review has the same key.';
comment on column shown_image.reviewer is 'User name of the reviewer in Airflow.';
comment on column shown_image.scan_id is 'The scan.';
comment on column shown_image.frame_index is 'Index of the frame in its file, from 0.';
comment on column shown_image.shown_at is 'Time when the image was first delivered.';
create index shown_image_by_scan on shown_image (scan_id);  -- erase_subject

-- Labels from reviews -------------------------------------------------------------------------------------------------

create table reviewed_frame (
    scan_id       bigint not null references scan,
    frame_index   integer not null,
    image_sha256  text not null,
    image_uri     text not null,
    decoded_at    timestamptz not null default now(),
    stored_at     timestamptz,
    primary key (scan_id, frame_index)
);
comment on table reviewed_frame is
    'One row per frame that was decoded to a labeled image. The row is written before the image, so every image has a '
    'row.';
comment on column reviewed_frame.scan_id is 'The scan.';
comment on column reviewed_frame.frame_index is 'Index of the frame in its file, from 0.';
comment on column reviewed_frame.image_sha256 is 'sha256 of the PNG.';
comment on column reviewed_frame.image_uri is 'S3 URI of the PNG. It shows a patient but no name.';
comment on column reviewed_frame.decoded_at is 'Time when the scored object version was decoded.';
comment on column reviewed_frame.stored_at is 'Time when the PNG was written; null before.';
create index reviewed_frame_by_image on reviewed_frame (image_sha256);  -- erase_subject

create table snapshot_review (
    snapshot_id    text not null references snapshot,
    scan_id        bigint not null references scan,
    frame_index    integer not null,
    label          tumor_class not null,
    label_source   label_source not null,
    count_reader   integer not null check (count_reader > 0),
    rules_version  integer not null,
    reason         text,
    primary key (snapshot_id, scan_id, frame_index)
);
comment on table snapshot_review is
    'One row per snapshot and frame with a label from its reviews: the rule, and whether the frame is included.';
comment on column snapshot_review.snapshot_id is 'The snapshot.';
comment on column snapshot_review.scan_id is 'The scan.';
comment on column snapshot_review.frame_index is 'Index of the frame in its file, from 0.';
comment on column snapshot_review.label is 'Label from the reviews.';
comment on column snapshot_review.label_source is
    'Rule that gave the label: readers (enough reviewers agree), senior_reader (a senior reviewer by the rules), '
    'adjudicated.';
comment on column snapshot_review.count_reader is 'Reviewers with this finding that count under the rules.';
comment on column snapshot_review.rules_version is 'Version of the label rules.';
comment on column snapshot_review.reason is 'Reason for excluding the frame from the snapshot; null if it is included.';
create index snapshot_review_by_frame on snapshot_review (scan_id, frame_index);  -- finds new labels

create table requested_label (
    scan_id       bigint not null references scan,
    frame_index   integer not null,
    label         tumor_class not null,
    request_key   text not null check (request_key <> ''),
    requested_at  timestamptz not null default now(),
    primary key (scan_id, frame_index, label)
);
comment on table requested_label is 'One row per label that has requested a retrain. It does not request another one.';
comment on column requested_label.scan_id is 'The scan.';
comment on column requested_label.frame_index is 'Index of the frame in its file, from 0.';
comment on column requested_label.label is 'Label from the reviews.';
comment on column requested_label.request_key is 'Name of the count''s run, so that a retry requests once.';
comment on column requested_label.requested_at is 'Time of the request.';
create index requested_label_by_request on requested_label (request_key);  -- a retry

-- Erasure -------------------------------------------------------------------------------------------------------------

create table erasure (
    erasure_id  bigint generated always as identity primary key,
    actor       text not null check (actor <> ''),
    reason      text not null check (reason <> ''),
    counts      jsonb not null,
    erased_at   timestamptz not null default now()
);
comment on table erasure is
    'Append-only: one row per erasure of a patient: counts, time, operator and reason, without any identity.';
comment on column erasure.erasure_id is 'Number of the erasure.';
comment on column erasure.actor is 'Account that ran the command.';
comment on column erasure.reason is 'Reason, in the operator''s words. It must not name a patient.';
comment on column erasure.counts is 'Deleted rows by table.';
comment on column erasure.erased_at is 'Time of the erasure.';
create trigger erasure_is_append_only before update or delete on erasure
    for each row execute function refuse_change();

create table erased_subject (
    subject_mark  text not null,
    erasure_id    bigint not null references erasure,
    primary key (subject_mark, erasure_id)
);
comment on table erased_subject is
    'Append-only: one row per erased patient and erasure. A later file of that patient is rejected as subject_erased.';
comment on column erased_subject.subject_mark is
    'HMAC of the pseudonym under the pseudonym key. Only the key''s owner can compute it.';
comment on column erased_subject.erasure_id is 'The erasure.';
create trigger erased_subject_is_append_only before update or delete on erased_subject
    for each row execute function refuse_change();

create table erased_content (
    content_mark  text not null,
    erasure_id    bigint not null references erasure,
    primary key (content_mark, erasure_id)
);
comment on table erased_content is
    'Append-only: one row per erasure and file, image or study of the patient. A later file with the same mark is '
    'rejected.';
comment on column erased_content.content_mark is
    'HMAC under the pseudonym key of a file''s sha256, of its pixels'' sha256 or of its study''s pseudonym.';
comment on column erased_content.erasure_id is 'The erasure.';
create trigger erased_content_is_append_only before update or delete on erased_content
    for each row execute function refuse_change();

create table erasure_run (
    erasure_id      bigint not null references erasure,
    scoring_run_id  bigint not null references scoring_run,
    count_object    integer not null,
    count_rescore   integer not null,
    primary key (erasure_id, scoring_run_id)
);
comment on table erasure_run is
    'Append-only: one row per erasure and run with erased scans, so that the run still balances.';
comment on column erasure_run.erasure_id is 'The erasure.';
comment on column erasure_run.scoring_run_id is 'The scoring run or rescore.';
comment on column erasure_run.count_object is 'Erased objects that the scoring run had listed.';
comment on column erasure_run.count_rescore is 'Erased scans of the rescore.';
create trigger erasure_run_is_append_only before update or delete on erasure_run
    for each row execute function refuse_change();

create table erasure_snapshot (
    erasure_id   bigint not null references erasure,
    snapshot_id  text not null references snapshot,
    count_image  integer not null check (count_image > 0),
    primary key (erasure_id, snapshot_id)
);
comment on table erasure_snapshot is
    'Append-only: one row per erasure and snapshot with images of the patient. Models of the snapshot were trained or '
    'evaluated on them.';
comment on column erasure_snapshot.erasure_id is 'The erasure.';
comment on column erasure_snapshot.snapshot_id is 'The snapshot. Its id still names the original list.';
comment on column erasure_snapshot.count_image is 'Erased images.';
create trigger erasure_snapshot_is_append_only before update or delete on erasure_snapshot
    for each row execute function refuse_change();

create table erasure_object (
    object_uri  text primary key,
    erasure_id  bigint not null references erasure,
    etag        text not null
);
comment on table erasure_object is
    'One row per object of an erased patient that is still in S3. The row is deleted when the object''s deletion is '
    'confirmed.';
comment on column erasure_object.object_uri is 'S3 URI of the object. It can identify a patient.';
comment on column erasure_object.erasure_id is 'The erasure.';
comment on column erasure_object.etag is 'Version of the object. Another version may belong to another patient.';

-- Pages in S3, so that an erasure finds the pages that show a patient ---------------------------------------------------

create table page (
    page_uri      text primary key,
    published_at  timestamptz not null default now()
);
comment on table page is 'One row per page in S3 with recorded scans and images. The row is written before the page.';
comment on column page.page_uri is 'S3 URI of the page.';
comment on column page.published_at is 'Time of the first publication.';

create table page_scan (
    page_uri  text not null references page,
    scan_id   bigint not null references scan,
    primary key (page_uri, scan_id)
);
comment on table page_scan is 'One row per page and scan that the page shows or names.';
comment on column page_scan.page_uri is 'The page.';
comment on column page_scan.scan_id is 'The scan.';
create index page_scan_by_scan on page_scan (scan_id);  -- erase_subject

create table page_image (
    page_uri      text not null references page,
    image_sha256  text not null,
    primary key (page_uri, image_sha256)
);
comment on table page_image is 'One row per page and labeled image that the page shows or names.';
comment on column page_image.page_uri is 'The page.';
comment on column page_image.image_sha256 is 'sha256 of the file.';
create index page_image_by_image on page_image (image_sha256);  -- erase_subject

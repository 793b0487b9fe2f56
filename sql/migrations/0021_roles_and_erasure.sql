-- What is left of a person whose rows were erased: that it was done, and counts. And a comment on every column.

set local search_path = braintumor;

create table erasure (
    erasure_id      bigint generated always as identity primary key,
    actor           text not null check (actor <> ''),
    reason          text not null check (reason <> ''),
    counts          jsonb not null,
    erased_at       timestamptz not null default now()
);
comment on table erasure is
    'Append-only tombstones: one row per erasure of a person; what went, when and who asked, nothing of whose it was.';
comment on column erasure.erasure_id is 'Its number.';
comment on column erasure.actor is 'The account that ran the command.';
comment on column erasure.reason is 'Why, in that person''s words; it must name nobody.';
comment on column erasure.counts is 'Rows that were deleted, by table.';
comment on column erasure.erased_at is 'When.';

create table erased_subject (
    subject_mark  text not null,
    erasure_id    bigint not null references erasure,
    primary key (subject_mark, erasure_id)
);
comment on table erased_subject is
    'Append-only: one row per erased person and erasure. A later file of that person is rejected as subject_erased.';
comment on column erased_subject.subject_mark is
    'HMAC of the pseudonym under the pseudonym key, so that nobody without the key can tell whose it is.';
comment on column erased_subject.erasure_id is 'The erasure.';

create table erasure_run (
    erasure_id      bigint not null references erasure,
    scoring_run_id  bigint not null references scoring_run,
    count_sighting  integer not null,
    count_rescore   integer not null,
    primary key (erasure_id, scoring_run_id)
);
comment on table erasure_run is
    'Append-only: one row per erasure and run that had seen or rescored what went, so that the run still balances.';
comment on column erasure_run.erasure_id is 'The erasure.';
comment on column erasure_run.scoring_run_id is 'The night or rescore.';
comment on column erasure_run.count_sighting is 'Objects that the night had seen and that went.';
comment on column erasure_run.count_rescore is 'Scans that the rescore had taken up and that went.';

create table erasure_snapshot (
    erasure_id   bigint not null references erasure,
    snapshot_id  text not null references snapshot,
    count_image  integer not null check (count_image > 0),
    primary key (erasure_id, snapshot_id)
);
comment on table erasure_snapshot is
    'Append-only: one row per erasure and snapshot that held images of the person: its models were trained or judged on them.';
comment on column erasure_snapshot.erasure_id is 'The erasure.';
comment on column erasure_snapshot.snapshot_id is 'The snapshot; its id still names the list as it was taken.';
comment on column erasure_snapshot.count_image is 'Images that went.';

create trigger erasure_is_append_only before update or delete on erasure
    for each row execute function refuse_change();
create trigger erased_subject_is_append_only before update or delete on erased_subject
    for each row execute function refuse_change();
create trigger erasure_run_is_append_only before update or delete on erasure_run
    for each row execute function refuse_change();
create trigger erasure_snapshot_is_append_only before update or delete on erasure_snapshot
    for each row execute function refuse_change();

alter table scoring_run add column count_erased integer;
comment on column scoring_run.count_erased is
    'Objects seen whose rows were erased since with the person that they were of; null where it was reconciled before 0021.';

-- A review is never changed and never deleted, but for an erasure, which says so for the length of its transaction.
create function refuse_change_but_erasure() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and current_setting('braintumor.is_erasing', true) = 'yes' then
        return old;
    end if;
    raise exception '% is append-only: add a row instead of changing one', tg_table_name;
end $$;
drop trigger review_is_append_only on review;
create trigger review_is_append_only before update or delete on review
    for each row execute function refuse_change_but_erasure();
drop trigger review_retraction_is_append_only on review_retraction;
create trigger review_retraction_is_append_only before update or delete on review_retraction
    for each row execute function refuse_change_but_erasure();

create index copied_prediction on prediction (copied_from_scan_id) where copied_from_scan_id is not null;  -- erasure asks

-- Comments that were missing, so that \d+ explains every column and docs/data-dictionary.md can be made from them.
comment on table migration is 'One row per migration that was applied, with the checksum of its file.';

comment on column approval_decision.gate_verdict_id is 'The verdict that was asked about.';
comment on column approval_decision.answered_at is 'When the person answered.';
comment on column approval_decision.answer is 'approve or reject.';
comment on column approval_decision.recorded_at is 'When it was put on record.';

comment on column confusion_cell.evaluation_id is 'The evaluation.';
comment on column confusion_cell.label is 'What the image is.';
comment on column confusion_cell.predicted_class is 'What the model named.';
comment on column confusion_cell.count_image is 'Images of the split with both.';

comment on column evaluation.evaluation_id is 'Its number.';
comment on column evaluation.model_version_id is 'The model that was judged.';
comment on column evaluation.snapshot_id is 'On whose images.';
comment on column evaluation.split is 'On which of its splits.';
comment on column evaluation.count_image is 'Images that were judged.';
comment on column evaluation.accuracy is 'Share of correct answers.';
comment on column evaluation.accuracy_low is 'Lower end of its 95% Wilson interval.';
comment on column evaluation.accuracy_high is 'Upper end of its 95% Wilson interval.';
comment on column evaluation.macro_precision is 'Mean of the classes'' precisions.';
comment on column evaluation.macro_recall is 'Mean of the classes'' recalls.';
comment on column evaluation.macro_f1 is 'Mean of the classes'' F1.';
comment on column evaluation.tumor_sensitivity is
    'Share of the images of any tumor that are answered with any tumor.';
comment on column evaluation.expected_calibration_error is
    'Mean distance of confidence from accuracy, after temperature scaling.';
comment on column evaluation.log_loss is 'Mean negative log of the true class''s probability.';
comment on column evaluation.evaluated_at is 'When it was judged first.';

comment on column evaluation_class.evaluation_id is 'The evaluation.';
comment on column evaluation_class.label is 'The class.';
comment on column evaluation_class.precision is
    'Share of the answers of this class that are right; null without such an answer.';
comment on column evaluation_class.recall is
    'Share of its images that are answered so (sensitivity); null without such an image.';
comment on column evaluation_class.specificity is 'Share of the other images that are answered otherwise.';
comment on column evaluation_class.f1 is 'Harmonic mean of precision and recall.';
comment on column evaluation_class.auroc is
    'Area under the receiver operating characteristic, this class against the others.';
comment on column evaluation_class.support is 'Its images.';

comment on column test_set_access.evaluation_id is 'The evaluation.';
comment on column test_set_access.access_key is 'Names who looked: a retrain run or a command.';
comment on column test_set_access.accessed_at is 'When.';

comment on column evaluation_occlusion.evaluation_id is 'The evaluation.';
comment on column evaluation_occlusion.hidden is
    'What was hidden: the place that the activation map marks, or one elsewhere.';
comment on column evaluation_occlusion.count_image is 'Images that were tried.';
comment on column evaluation_occlusion.count_changed is 'Of these, those whose answer changed.';

comment on column evaluation_slice.evaluation_id is 'The evaluation.';
comment on column evaluation_slice.attribute is 'What the images are sliced by.';
comment on column evaluation_slice.value is 'The slice''s value of it.';
comment on column evaluation_slice.count_image is 'Its images.';
comment on column evaluation_slice.count_correct is 'Of these, those answered correctly.';

comment on column gate_verdict.gate_verdict_id is 'Its number.';
comment on column gate_verdict.run_key is 'The retrain run.';
comment on column gate_verdict.model_version_id is 'The candidate.';
comment on column gate_verdict.is_passed is 'Whether every rule passed it.';
comment on column gate_verdict.rules is 'Each rule: name, whether it passed, and why.';
comment on column gate_verdict.summary is 'The verdict in a sentence.';
comment on column gate_verdict.judged_at is 'When.';

comment on column migration.migration_name is 'The file''s name without .sql.';
comment on column migration.checksum is 'sha256 of the file as it was applied.';
comment on column migration.applied_at is 'When.';

comment on column model_version.model_version_id is 'Its number.';
comment on column model_version.model_name is 'Its name, for people and commands.';
comment on column model_version.training_run_id is 'The training that made it.';
comment on column model_version.backbone is 'The network below the head, such as resnet50.';
comment on column model_version.precision is 'fp32 or int8.';
comment on column model_version.image_size is 'Pixels a side that it takes.';
comment on column model_version.preprocessing is 'Version of how frames become its input.';
comment on column model_version.count_parameter is 'Weights of the whole network.';
comment on column model_version.artifact_uri is 'S3 prefix of its files.';
comment on column model_version.temperature is 'What logits are divided by before the probabilities.';
comment on column model_version.near_tie_below is 'Margin below which an answer has the review reason near_tie.';
comment on column model_version.created_at is 'When it was registered.';

comment on column prediction.scan_id is 'The scan.';
comment on column prediction.frame_index is 'The frame''s place in its file, from 0.';
comment on column prediction.model_version_id is 'Who answered.';
comment on column prediction.scoring_run_id is 'The night or rescore that wrote it.';
comment on column prediction.predicted_class is 'The class of the highest probability.';
comment on column prediction.confidence is 'The highest of the four probabilities.';
comment on column prediction.probability_glioma is 'Probability of glioma, temperature folded in.';
comment on column prediction.probability_meningioma is 'Probability of meningioma, temperature folded in.';
comment on column prediction.probability_normal is 'Probability of none of the three tumors, temperature folded in.';
comment on column prediction.probability_pituitary is 'Probability of pituitary tumor, temperature folded in.';
comment on column prediction.review_reasons is 'Why a person should look; empty where nothing speaks for it.';
comment on column prediction.engine is 'What computed it: openvino-cpu or tensorflow-xla.';
comment on column prediction.preprocessing is 'Version of how the frame was prepared.';
comment on column prediction.scored_at is 'When it was written.';

comment on column promotion.promotion_id is 'Its number: the highest is the newest.';
comment on column promotion.action is 'promote or rollback.';
comment on column promotion.model_version_id is 'Who is champion from then on.';
comment on column promotion.gate_verdict_id is 'The verdict that passed it; null for an override or a rollback.';
comment on column promotion.actor is 'Who did it: a person, or the DAG by its policy.';
comment on column promotion.reason is 'Why, in that person''s words.';
comment on column promotion.promoted_at is 'When.';

comment on column pruning.model_version_id is 'Whose files were deleted.';
comment on column pruning.actor is 'Who did it.';
comment on column pruning.reason is 'Why, in that person''s words.';
comment on column pruning.pruned_at is 'When.';

comment on column rejection.scan_id is 'The scan.';
comment on column rejection.scoring_run_id is 'The run that rejected it.';
comment on column rejection.reason is 'Reason code; the operator''s page has them all.';
comment on column rejection.detail is 'What was found, without identifiers.';
comment on column rejection.rejected_at is 'When.';

comment on column rescore.scoring_run_id is 'The rescore.';
comment on column rescore.scan_id is 'The scan.';
comment on column rescore.chunk_number is 'Its chunk of the run, from 0.';
comment on column rescore.processed_at is 'When it was settled; null while it is pending.';

comment on column rescore_run.scoring_run_id is 'Its run.';
comment on column rescore_run.actor is 'Who asked for it.';
comment on column rescore_run.reason is 'Why people are told another answer, in that person''s words.';
comment on column rescore_run.asked_at is 'When.';

comment on column scan.scan_id is 'Its number: what people, logs and pages name it by.';
comment on column scan.state is 'pending, scored, rejected, ignored or superseded.';
comment on column scan.chunk_number is 'Its chunk of that run; null where it was not planned.';
comment on column scan.count_attempt is 'Times that a worker took it up.';
comment on column scan.count_frame is 'Frames that were scored; null where none was.';
comment on column scan.size_bytes is 'Bytes of the object, as listed.';
comment on column scan.format is 'jpeg, png, tiff, dicom or nifti, by content; null until it is scored.';
comment on column scan.content_sha256 is 'Of the object''s bytes; null until it is scored.';
comment on column scan.pixel_sha256 is 'Of the pixels of its frames: the same picture in another file has the same.';
comment on column scan.study_pseudonym is 'Keyed pseudonym of its StudyInstanceUID; null where it has none.';
comment on column scan.series_pseudonym is 'Keyed pseudonym of its SeriesInstanceUID; null where it has none.';
comment on column scan.patient_pseudonym is 'Keyed pseudonym of its PatientID; null where it has none.';
comment on column scan.arrived_at is 'When the object was last written, as S3 says.';
comment on column scan.discovered_at is 'When a night saw it first.';
comment on column scan.processed_at is 'When its state became final; null while it is pending.';

comment on column scan_location.scan_id is 'The scan.';
comment on column scan_location.bucket is 'S3 bucket.';
comment on column scan_location.key is 'Object key. It can identify a patient.';
comment on column scan_location.etag is 'Which version of the object.';

comment on column scoring_chunk.scoring_run_id is 'The run.';
comment on column scoring_chunk.chunk_number is 'Its number in the run, from 0.';
comment on column scoring_chunk.count_scan is 'Scans that were planned into it.';
comment on column scoring_chunk.lease_expires_at is
    'Until when its worker has it, by the database''s clock; null where nobody has.';
comment on column scoring_chunk.finished_at is 'When it was settled; null before.';
comment on column scoring_chunk.stage_seconds is 'Seconds that its worker spent reading and inferring.';

comment on column scoring_run.scoring_run_id is 'Its number: of two runs the later has the higher.';
comment on column scoring_run.run_key is 'Names the DAG run or command, so that a retry finds its row.';
comment on column scoring_run.model_version_id is 'The model that answers, pinned when the run began.';
comment on column scoring_run.engine is 'What computes its answers: openvino-cpu or tensorflow-xla.';
comment on column scoring_run.state is 'running, balanced or unbalanced.';
comment on column scoring_run.count_scored is 'Objects scored in this run, when it was last reconciled.';
comment on column scoring_run.count_known is 'Objects settled by an earlier run.';
comment on column scoring_run.count_rejected is 'Objects rejected in this run.';
comment on column scoring_run.count_ignored is 'Objects that are no scans by rule.';
comment on column scoring_run.count_deferred is 'Objects left to a later run.';
comment on column scoring_run.count_superseded is 'Objects overwritten or removed after they were listed.';
comment on column scoring_run.started_at is 'When it began.';
comment on column scoring_run.listed_at is 'When the listing was stored; null before.';
comment on column scoring_run.finished_at is 'When it was last reconciled; null before.';

comment on column shadow_prediction.scan_id is 'The scan.';
comment on column shadow_prediction.frame_index is 'The frame''s place in its file, from 0.';
comment on column shadow_prediction.model_version_id is 'The model that was asked.';
comment on column shadow_prediction.predicted_class is 'The class of the highest probability.';
comment on column shadow_prediction.confidence is 'The highest of the four probabilities.';
comment on column shadow_prediction.probability_glioma is 'Probability of glioma, temperature folded in.';
comment on column shadow_prediction.probability_meningioma is 'Probability of meningioma, temperature folded in.';
comment on column shadow_prediction.probability_normal is
    'Probability of none of the three tumors, temperature folded in.';
comment on column shadow_prediction.probability_pituitary is 'Probability of pituitary tumor, temperature folded in.';
comment on column shadow_prediction.scored_at is 'When it was written.';

comment on column scoring_run_object.scoring_run_id is 'The run that saw it.';
comment on column scoring_run_object.scan_id is 'What it saw.';

comment on column snapshot.source_uri is 'S3 prefix that it was taken of.';
comment on column snapshot.count_image is 'Distinct images.';
comment on column snapshot.created_at is 'When it was first taken.';

comment on column snapshot_image.snapshot_id is 'The snapshot.';
comment on column snapshot_image.image_sha256 is 'Of the file''s bytes.';
comment on column snapshot_image.label is 'What the image shows, by its folder.';
comment on column snapshot_image.split is 'train, validation or test.';
comment on column snapshot_image.image_uri is 'Where it lies. It can identify a patient.';

comment on column split_assignment.image_sha256 is 'Of the file''s bytes.';
comment on column split_assignment.split is 'Where it belongs: train, validation or test.';
comment on column split_assignment.assigned_at is 'When.';

comment on column test_prediction.evaluation_id is 'The evaluation.';
comment on column test_prediction.image_sha256 is 'Of the file''s bytes.';
comment on column test_prediction.label is 'What the image is.';
comment on column test_prediction.predicted_class is 'What the model named.';
comment on column test_prediction.probability_glioma is 'Probability of glioma, temperature folded in.';
comment on column test_prediction.probability_meningioma is 'Probability of meningioma, temperature folded in.';
comment on column test_prediction.probability_normal is
    'Probability of none of the three tumors, temperature folded in.';
comment on column test_prediction.probability_pituitary is 'Probability of pituitary tumor, temperature folded in.';

comment on column training_run.training_run_id is 'Its number.';
comment on column training_run.run_key is 'The retrain run, or command.';
comment on column training_run.recipe_name is 'The recipe''s name.';
comment on column training_run.snapshot_id is 'What it was trained on.';
comment on column training_run.initialization is 'Where its weights began: imagenet or random.';
comment on column training_run.history is 'Loss and accuracy by stage and epoch.';
comment on column training_run.code_version is 'Version and commit of the code.';
comment on column training_run.library_versions is 'Versions of the libraries that matter to it.';
comment on column training_run.device is 'What it was trained on.';
comment on column training_run.seconds is 'How long it took.';
comment on column training_run.finished_at is 'When.';

comment on column withdrawal.withdrawal_id is 'Its number: the highest is the newest.';
comment on column withdrawal.model_version_id is 'Who may not answer any more.';
comment on column withdrawal.actor is 'Who did it.';
comment on column withdrawal.reason is 'Why, in that person''s words.';
comment on column withdrawal.withdrawn_at is 'When.';

-- A model `used` with all evidence and a model `fresh` without any. Names of patients and readers must not be reported.

insert into snapshot (snapshot_id, source_uri, count_image, count_copy, left_out, count_identified, count_patient_identified)
values ('s', 's3://b/dataset/', 400, 3,
        '[{"image_uri": "s3://b/dataset/SECRET-1.png", "reason": "on the exclusion list: SECRET told us", "image_sha256": null},
          {"image_uri": "s3://b/dataset/SECRET-2.png", "reason": "unreadable: SECRET", "image_sha256": null}]', 400, 400);
insert into split_assignment (image_sha256, pixel_sha256, split)
select number, number, case when number <= 80 then 'train' when number <= 160 then 'validation' else 'test' end::split
from generate_series(1, 400) as number;
insert into snapshot_image (snapshot_id, image_sha256, group_key, label, split, image_uri, pixel_sha256, has_patient,
                            attributes)
select 's', image_sha256, 'SECRET patient ' || image_sha256::integer / 5,
       (array['glioma', 'meningioma', 'normal', 'pituitary'])[1 + image_sha256::integer % 4]::tumor_class, split,
       's3://b/dataset/SECRET-' || image_sha256, pixel_sha256, true,
       jsonb_build_object('sex', case when image_sha256::integer % 2 = 0 then 'F' else 'M' end, 'source', '-')
from split_assignment;

insert into training_run (run_key, recipe_name, recipe, snapshot_id, initialization, history, code_version,
                          library_versions, device, seconds)
select 'r', name, '{"version": 4, "seed": 7, "epochs": 60, "learning_rate": 0.001}', 's', 'imagenet',
       '{"loss": [0.9, 0.5], "val_loss": [0.9, 0.6], "accuracy": [0.7, 0.8], "val_accuracy": [0.7, 0.8]}', '0.1.0',
       '{"keras": "3.15.0", "pydicom": "3.0.1"}', 'cpu', 1630
from (values ('used'), ('fresh')) as made (name);
insert into model_version (model_name, training_run_id, backbone, precision, image_size, preprocessing, count_parameter,
    artifact_uri, artifact_sha256s, temperature, prediction_sets)
select recipe_name, training_run_id, 'vgg16', 'fp32', 224, 'letterbox-bilinear-2', 14700000,
       'MODELS' || recipe_name || '/', '{"model.xml": "aa11", "model.bin": "bb22"}', 1.3,
       '{"coverage": 0.95, "lowest_probability": {"glioma": 0.2, "meningioma": 0.1, "normal": 0.3, "pituitary": 0.2},
         "count_group": {"glioma": 20, "meningioma": 20, "normal": 20, "pituitary": 20}, "fitted_on": "validation"}'
from training_run order by training_run_id;
insert into gate_verdict (run_key, model_version_id, is_passed, rules, summary)
select 'r', 1, true, cast(:verdict as jsonb), 'Passed';
insert into approval_decision (gate_verdict_id, answered_at, answer, person) values (1, now(), 'approve', 'Ann Approver');

insert into promotion (request_key, action, model_version_id, gate_verdict_id, is_override, actor, reason)
values ('1', 'promote', 1, 1, false, 'Ann Approver', 'passed the gate'),
       ('2', 'promote', 2, null, true, 'Olga Operator', 'a trial'),
       ('3', 'rollback', 1, null, false, 'Olga Operator', 'the trial was worse');

insert into scoring_run (run_key, kind, scans_uri, model_version_id, engine, state, count_scored, count_rejected,
                         started_at)
select 'night ' || number, 'night', 's3://b/scans/', 1, 'openvino-cpu', 'balanced', 40, 1,
       now() - (4 - number) * interval '1 day'
from generate_series(1, 3) as number;
insert into scoring_run_summary (scoring_run_id, level, count_arrived, reasons)
values (1, 'green', 40, '{}'), (2, 'amber', 40, '{"5 scans wait for the next run."}'),
       (3, 'red', 0, '{"Expected about 40, got 0."}');
insert into scan (state, scoring_run_id, count_frame, size_bytes, arrived_at, patient_pseudonym, audit_probability)
select 'scored', 1, 1, 1, now(), 'SECRET pseudonym ' || number, 0.02 from generate_series(1, 40) as number;
insert into scan_location (scan_id, bucket, key, etag) select scan_id, 'b', 'scans/SECRET-' || scan_id, '1' from scan;
insert into rejection (scan_id, scoring_run_id, reason, detail) values (40, 2, 'unreadable', 'SECRET detail');
insert into prediction (scan_id, frame_index, model_version_id, scoring_run_id, predicted_class, confidence, margin,
    probability_glioma, probability_meningioma, probability_normal, probability_pituitary, review_reasons, activation_map,
    engine, preprocessing)
select scan_id, 0, 1, 1, case when scan_id % 2 = 0 then 'glioma' else 'normal' end::tumor_class, 0.94, 0.92,
    case when scan_id % 2 = 0 then 0.94 else 0.02 end, 0.02, case when scan_id % 2 = 0 then 0.02 else 0.94 end, 0.02,
    '{audit_sample}', '', 'openvino-cpu', 'p'
from scan;
insert into review (request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose, is_blind)
select 'review ' || scan_id, scan_id, 0, 1, 'SECRET reader',
    case when scan_id % 2 = 0 and scan_id % 10 > 0 then 'glioma' else 'normal' end::review_finding, 'audit', true
from scan;

insert into scoring_run (run_key, kind, model_version_id, engine) values ('rescore', 'rescore', 2, 'openvino-cpu');
insert into rescore_run (scoring_run_id, is_champion, actor, reason, asked_for, count_matching, count_asked)
values (4, false, 'Olga Operator', 'to compare', '{}', 1, 1);
insert into rescore (scoring_run_id, scan_id, chunk_number, before_model_version_id, state) values (4, 1, 0, 1, 'refused');

insert into live_accuracy_figure (scoring_run_id, figure, class, value, low, high, count_drawn, count_read, count_settled,
                                  count_conflict, count_undecided)
values (3, 'scan', null, 0.9, 0.78, 0.96, 40, 40, 40, 0, 0), (3, 'patient', null, 0.9, 0.77, 0.96, 40, 40, 40, 0, 0);
insert into live_accuracy_figure (scoring_run_id, figure, class, not_assessed, count_settled)
values (3, 'two readers', null, 'too few readings', 0),
    (3, 'finding', 'pituitary', '0 of 20 required patients or scans have a finding', 0);

"""Write a model, scoring runs and blindly reviewed scans of the audit sample directly to the database."""

from __future__ import annotations

import json
from typing import Any

from braintumor.config.settings import Settings
from tests.sql import change, rows


def add_model(settings: Settings, name: str = "m", *, accuracy: float = 1.0) -> int:
    """Write a model with an evaluation on a balanced test split, 50 predictions per class, and return its ID."""
    ((number,),) = rows(settings, "select count(*) + 1 from model_version")
    change(
        settings,
        """
        insert into snapshot values ('s', 's3://b/', 1, 0, '[]') on conflict do nothing;
        insert into training_run (run_key, recipe_name, recipe, snapshot_id, initialization, history, code_version,
                                  library_versions, device, seconds)
        values (:name, 'r', '{}', 's', 'random', '{}', '0', '{}', 'cpu', 1);
        insert into model_version (model_name, training_run_id, backbone, precision, image_size, preprocessing,
            count_parameter, artifact_uri, artifact_sha256s, temperature)
        values (:name, :number, 'vgg16', 'fp32', 64, 'p', 1, 's3://b/m/', '{}', 1);
        insert into evaluation (model_version_id, snapshot_id, split, count_image, accuracy, accuracy_low,
            accuracy_high, macro_precision, macro_recall, macro_f1, expected_calibration_error, log_loss)
        values (:number, 's', 'test', 200, :accuracy, 0, 1, 1, 1, 1, 0, 0);
        insert into test_prediction (evaluation_id, image_sha256, label, predicted_class, probability_glioma,
            probability_meningioma, probability_normal, probability_pituitary)
        select :number, number::text, 'normal', class::tumor_class, 0.97, 0.01, 0.01, 0.01
        from generate_series(1, 200) as number
        cross join lateral (
            select (array['glioma', 'meningioma', 'normal', 'pituitary'])[1 + number % 4] as class) as named""",
        name=name,
        number=number,
        accuracy=accuracy,
    )
    return int(number)


def group_test_images(settings: Settings, groups: int) -> None:
    """Put the 200 test images of ``add_model`` into groups of related images. Image n is in group n % groups."""
    change(
        settings,
        """
        insert into split_assignment (image_sha256, pixel_sha256, split)
        select distinct image_sha256, image_sha256, 'test'::split from test_prediction;
        insert into snapshot_image (snapshot_id, image_sha256, group_key, label, split, image_uri, pixel_sha256)
        select 's', image_sha256, (image_sha256::integer % :groups)::text, 'normal', split, '', image_sha256
        from split_assignment""",
        groups=groups,
    )


def add_run(settings: Settings, model_version_id: int = 1) -> int:
    """Write a scoring run of a model without scans, and return its ID."""
    ((number,),) = rows(
        settings,
        """
        insert into scoring_run (run_key, scans_uri, model_version_id, engine, state)
        values (gen_random_uuid()::text, 's3://b/scans/', :model, 'openvino-cpu', 'balanced')
        returning scoring_run_id""",
        model=model_version_id,
    )
    return int(number)


def scan(predicted: str, *findings: str, **values: object) -> dict[str, Any]:
    """Describe a scan of the audit sample, with the first blind findings of as many reviewers.

    Values: ``chance`` of the draw, ``None`` for a scan that was not drawn, ``patient``, ``frames``, ``confidence``.
    """
    known = {"chance": 0.02, "patient": None, "frames": 1, "confidence": 0.9} | values
    return {"predicted": predicted, "findings": findings, **known}


def add_scans(settings: Settings, scoring_run_id: int, scans: list[dict[str, Any]]) -> None:
    """Write scans, their predictions and their blind reviews. Later scans are reviewed later."""
    change(
        settings,
        """
        create temporary table described as
        select 1000 * :run + place as scan_id, item
        from jsonb_array_elements(cast(:scans as jsonb)) with ordinality as made (item, place);
        insert into scan (scan_id, state, scoring_run_id, count_frame, size_bytes, arrived_at, processed_at,
            patient_pseudonym, audit_probability)
        overriding system value
        select scan_id, 'scored', :run, (item ->> 'frames')::integer, 1, now(), now(), item ->> 'patient',
            (item ->> 'chance')::real
        from described;
        insert into prediction (scan_id, frame_index, model_version_id, scoring_run_id, predicted_class, confidence,
            margin, probability_glioma, probability_meningioma, probability_normal, probability_pituitary,
            review_reasons, activation_map, engine, preprocessing)
        select scan_id, frame, model_version_id, :run, (item ->> 'predicted')::tumor_class,
            (item ->> 'confidence')::real, 0, (1 - normal) / 2, (1 - normal) / 2, normal, 0, '{}', '', 'cpu', 'p'
        from described
        cross join lateral generate_series(0, (item ->> 'frames')::integer - 1) as frame
        cross join lateral (
            select case item ->> 'predicted' when 'normal' then (item ->> 'confidence')::real else 0.05 end as normal
        ) as probability
        join scoring_run on scoring_run_id = :run;
        insert into review (request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose, is_blind,
            reviewed_at)
        select gen_random_uuid()::text, scan_id, 0, model_version_id, 'reviewer ' || number,
            finding::review_finding, 'audit', true, clock_timestamp()
        from described
        cross join lateral jsonb_array_elements_text(item -> 'findings') with ordinality as given (finding, number)
        join scoring_run on scoring_run_id = :run
        order by scan_id, number;
        drop table described""",
        run=scoring_run_id,
        scans=json.dumps(scans),
    )

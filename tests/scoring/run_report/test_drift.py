"""Test drift: a change of the site is amber, a difference from the balanced test split is not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.labels import CLASSES
from braintumor.scoring.run import load_run
from braintumor.scoring.run_report.balance import Balance
from braintumor.scoring.run_report.drift import RECENT_RUNS, TEST_SPLIT, Drift, Mix, class_index, confidence_index
from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.scoring.run_report.statistics import run_statistics
from braintumor.scoring.run_report.status import make_run_status
from tests.audits import add_model, group_test_images
from tests.sql import change, rows

RULES = RunReportRules.load()
WARD = {"glioma": 12, "meningioma": 10, "normal": 120, "pituitary": 8}
"""A run of 150 patients, most without a tumor."""
SHIFTED = {"glioma": 70, "meningioma": 10, "normal": 62, "pituitary": 8}
SURE = dict.fromkeys(CLASSES, 0.97)


@pytest.fixture
def site(empty_settings: Settings) -> Settings:
    """Create a database with one model whose test split has 50 predictions per class."""
    add_model(empty_settings)
    return empty_settings


@pytest.fixture
def engine(site: Settings) -> Iterator[Engine]:
    made = database.connect(site)
    yield made
    made.dispose()


def add_run(
    settings: Settings, classes: dict[str, int], *, days: int, sure: dict[str, float] | None = None, **values: object
) -> int:
    """Write a run with one scan of one frame per patient, and return its ID.

    Values: ``state`` of the run, ``people`` (the frames belong to so many people), ``uri`` of the scans.
    """
    named = [(label, (sure or SURE)[label]) for label, count in classes.items() for _ in range(count)]
    known = {"state": "balanced", "people": len(named), "uri": "s3://b/scans/"} | values
    ((number,),) = rows(
        settings,
        """
        insert into scoring_run (run_key, scans_uri, model_version_id, engine, state, started_at)
        values (gen_random_uuid()::text, :uri, 1, 'openvino-cpu', cast(:state as run_state),
                now() - make_interval(days => :days))
        returning scoring_run_id""",
        days=days,
        state=known["state"],
        uri=known["uri"],
    )
    change(
        settings,
        """
        with named as (
            select row_number() over () as place, item ->> 0 as label, (item ->> 1)::real as sure
            from jsonb_array_elements(cast(:named as jsonb)) as item
        ),
        made as (
            insert into scan (scan_id, state, scoring_run_id, count_frame, size_bytes, arrived_at, patient_pseudonym)
            overriding system value
            select 1000 * :run + place, 'scored', :run, 1, 1, now(), 'patient ' || place % :people from named
        )
        insert into prediction (scan_id, frame_index, model_version_id, scoring_run_id, predicted_class, confidence,
            margin, probability_glioma, probability_meningioma, probability_normal, probability_pituitary,
            review_reasons, activation_map, engine, preprocessing)
        select 1000 * :run + place, 0, 1, :run, label::tumor_class, sure, 0,
            case label when 'glioma' then sure else (1 - sure) / 3 end,
            case label when 'meningioma' then sure else (1 - sure) / 3 end,
            case label when 'normal' then sure else (1 - sure) / 3 end,
            case label when 'pituitary' then sure else (1 - sure) / 3 end, '{}', '', 'openvino-cpu', 'p'
        from named""",
        named=json.dumps(named),
        run=number,
        people=known["people"],
    )
    return int(number)


def measured(engine: Engine, run: int) -> dict[str, Drift]:
    statistics = run_statistics(engine, load_run(engine, run), rules=RULES)
    return {drift.reference: drift for drift in statistics.drifts}


def reasons(engine: Engine, settings: Settings, run: int) -> list[str]:
    balance = Balance(**dict.fromkeys(Balance.__dataclass_fields__, 0))
    status = make_run_status(engine, load_run(engine, run), balance, RULES, settings=settings)
    return [reason.message for reason in status.reasons if reason.alert == "drift"]


def test_usual_ward_unlike_the_test_split_is_green(site: Settings, engine: Engine) -> None:
    for days in range(1, 8):
        add_run(site, WARD, days=days)
    current = add_run(site, WARD, days=0)
    found = measured(engine, current)
    assert found[RECENT_RUNS] == Drift(
        reference=RECENT_RUNS,
        count_reference=7 * 150,
        of_class=pytest.approx(0, abs=0.01),
        of_confidence=pytest.approx(0, abs=0.01),
    )
    assert (found[TEST_SPLIT].of_class, found[TEST_SPLIT].of_confidence) == (None, pytest.approx(0, abs=0.01))
    assert reasons(engine, site, current) == []
    balanced = json.dumps(dict.fromkeys(CLASSES, 50))
    ((old,),) = rows(
        site, "select stability_index(cast(:a as jsonb), cast(:b as jsonb))", a=balanced, b=json.dumps(WARD)
    )
    assert old > 0.9, "the comparison with the test split, which made every run amber"


def test_run_with_many_more_gliomas_is_amber(site: Settings, engine: Engine) -> None:
    for days in range(1, 8):
        add_run(site, WARD, days=days)
    current = add_run(site, SHIFTED, days=0)
    index = measured(engine, current)[RECENT_RUNS].of_class
    usual = json.dumps({label: 7 * count for label, count in WARD.items()})
    ((expected,),) = rows(
        site, "select stability_index(cast(:a as jsonb), cast(:b as jsonb))", a=usual, b=json.dumps(SHIFTED)
    )
    assert index == pytest.approx(expected) and expected > 0.5
    (words,) = reasons(engine, site, current)
    assert words == f"Predictions drift from {RECENT_RUNS}: stability index {expected:.2f}."


def test_lower_confidence_in_the_same_classes_is_amber(site: Settings, engine: Engine) -> None:
    for days in range(1, 8):
        add_run(site, WARD, days=days)
    current = add_run(site, WARD, days=0, sure=SURE | {"normal": 0.55})
    found = measured(engine, current)
    assert found[RECENT_RUNS].of_class == pytest.approx(0, abs=0.01)
    assert found[RECENT_RUNS].of_confidence is not None and found[RECENT_RUNS].of_confidence > 0.25
    assert found[TEST_SPLIT].of_confidence is not None and found[TEST_SPLIT].of_confidence > 0.25
    assert len(reasons(engine, site, current)) == 2


def test_class_mix_alone_is_not_confidence_drift(site: Settings, engine: Engine) -> None:
    """The model is always less confident for gliomas, and this run has more of them."""
    sure = SURE | {"glioma": 0.65}
    for days in range(1, 8):
        add_run(site, WARD, days=days, sure=sure)
    current = add_run(site, SHIFTED, days=0, sure=sure)
    assert measured(engine, current)[RECENT_RUNS].of_confidence == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    ("runs", "values"),
    [(0, {}), (4, {}), (7, {"state": "unbalanced"}), (7, {"uri": "s3://b/another-site/"}), (7, {"people": 5})],
    ids=["no history", "four runs", "runs that do not balance", "another site", "five people"],
)
def test_too_little_history_is_not_assessed(
    site: Settings, engine: Engine, runs: int, values: dict[str, object]
) -> None:
    for days in range(1, runs + 1):
        add_run(site, WARD, days=days, **values)
    current = add_run(site, SHIFTED, days=0)
    found = measured(engine, current)[RECENT_RUNS]
    assert (found.of_class, found.of_confidence) == (None, None)
    assert str(found) == "class mix not assessed, confidence not assessed"
    assert reasons(engine, site, current) == []


@pytest.mark.parametrize(("size", "people"), [(0.5, 75), (1, 3)], ids=["75 answers", "150 slices of 3 people"])
def test_small_run_is_not_assessed(site: Settings, engine: Engine, size: float, people: int) -> None:
    for days in range(1, 8):
        add_run(site, WARD, days=days)
    current = add_run(site, {name: int(size * count) for name, count in SHIFTED.items()}, days=0, people=people)
    assert measured(engine, current)[RECENT_RUNS].of_class is None
    assert reasons(engine, site, current) == []


def test_patients_count_once_and_other_runs_are_not_read(site: Settings, engine: Engine) -> None:
    for days in range(1, 8):
        add_run(site, WARD, days=days, people=75)
    add_run(site, SHIFTED, days=40)
    current = add_run(site, WARD, days=0)
    add_run(site, SHIFTED, days=0)
    assert measured(engine, current)[RECENT_RUNS].count_reference == 7 * 75


def test_related_test_images_count_once(site: Settings, engine: Engine) -> None:
    run = add_run(site, WARD, days=0)
    assert measured(engine, run)[TEST_SPLIT].count_reference == 200
    group_test_images(site, 100)
    assert measured(engine, run)[TEST_SPLIT].count_reference == 100


MIX = (0.08, 0.07, 0.8, 0.05)
TENTHS = {"5": 0.03, "6": 0.05, "7": 0.07, "8": 0.15, "9": 0.7}


def drawn(rng: np.random.Generator, count: int, mix: Sequence[float]) -> Mix:
    """Draw the predictions of a number of patients at random."""
    shares = np.outer(mix, list(TENTHS.values()))
    counts = rng.multinomial(count, (shares / shares.sum()).ravel()).reshape(shares.shape)
    names = [[(label.value, tenth) for tenth in TENTHS] for label in CLASSES]
    people = {
        name: float(n)
        for of_class, row in zip(names, counts, strict=True)
        for name, n in zip(of_class, row, strict=True)
        if n
    }
    return Mix(people=people, count_frame=count)


@pytest.mark.parametrize("size", [60, 100, 150, 400])
def test_chance_is_rarely_amber_and_a_real_shift_is(empty_settings: Settings, size: int) -> None:
    rng = np.random.default_rng(size)
    engine = database.connect(empty_settings)
    shifted = (0.4, 0.07, 0.48, 0.05)
    with transaction(engine) as connection:
        connection.execute(text("select 1"))
        usual: list[float] = []
        sure: list[float] = []
        found: list[float] = []
        for _ in range(200):
            before = drawn(rng, 14 * size, MIX)
            job = drawn(rng, size, MIX)
            usual.append(class_index(connection, before, job, RULES.amber_drift) or 0.0)
            sure.append(confidence_index(connection, before, job, RULES.amber_drift) or 0.0)
            found.append(class_index(connection, before, drawn(rng, size, shifted), RULES.amber_drift) or 0.0)
    engine.dispose()
    assert np.median(usual) < RULES.amber_drift / 2 and np.median(sure) < RULES.amber_drift / 2
    assert np.mean(np.array(usual) > RULES.amber_drift) <= 0.01
    assert np.mean(np.array(sure) > RULES.amber_drift) <= 0.01
    assert np.mean(np.array(found) > RULES.amber_drift) >= 0.95

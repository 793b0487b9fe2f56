"""Measure the speed of writing, and the time of the most frequent queries, with millions of predictions in Postgres.

::

    python -m benchmarks.database --count 10000000

The benchmark creates predictions in SQL: 10,000 frames a night, of single images and of volumes of 20 frames. A second
model predicts 1% of the scans again. The bytes per row are measured then. Reviewers settle 20,000 of the riskiest
frames, which the worklist must skip. Then more rows are written with ``copy_rows`` into the table with all its keys, as
in a scoring run. All times are measured on a warm database with the settings of the development stack. Query plans are
printed without costs.
"""

from __future__ import annotations

import platform
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import click
import psutil
import psycopg2
from sqlalchemy import Connection, Engine, text

from benchmarks.discovery import pretend_champion
from braintumor.config.settings import Settings
from braintumor.db import database, migrations
from devstack.stack import Stack

_PER_NIGHT = 10_000
_BATCH = 50_000


@click.command()
@click.option("--count", default=10_000_000, show_default=True, help="Predictions.")
def main(count: int) -> None:
    """Print the measurements, and the plan of each query."""
    click.echo(
        f"{count:,} answers, {platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}"
    )
    with _database_of(count) as engine:
        for name, sql, arguments in _questions(engine, count):
            times = _times(engine, sql, arguments)
            click.echo(
                f"\n{name}: median {median(times) * 1e3:.1f} ms, p95 {quantiles(times, n=20)[-1] * 1e3:.1f} ms "
                f"of {len(times)}"
            )
        for writers in (1, 2):
            rates = list(_copy_rates(engine, writers=writers))
            click.echo(
                f"\nCOPY with all keys, {writers} at a time: median {median(rates):,.0f} rows a second, "
                f"{min(rates):,.0f} to {max(rates):,.0f}"
            )
        for name, sql in _PLANS.items():
            click.echo(f"\n{name}\n{_plan(engine, sql)}")


def _sizes(engine: Engine) -> Iterator[tuple[str, int, int]]:
    """Yield (name, number of rows, bytes with all indexes) of each table of scans and predictions that has rows."""
    with database.transaction(engine) as connection:
        for table in ("scan", "scan_location", "prediction"):
            count_rows = connection.scalar(text(f"select count(*) from {table}"))
            size = connection.scalar(text("select pg_total_relation_size(cast(:table as regclass))"), {"table": table})
            if count_rows:
                yield table, count_rows, size


def _questions(engine: Engine, count: int) -> Iterator[tuple[str, str, list[dict[str, object]]]]:
    rng = random.Random(0)
    with database.transaction(engine) as connection:
        scans = connection.scalar(text("select max(scan_id) from scan"))
        days = list(
            connection.scalars(
                text("select (started_at at time zone 'utc')::date from scoring_run where kind = 'night'")
            )
        )
    yield "first page of the worklist", "select * from worklist_page(50)", [{}] * 40
    runs: list[dict[str, object]] = [{"run": rng.randint(1, max(1, count // _PER_NIGHT))} for _ in range(20)]
    yield "first page of one run's, by the view", _NIGHT, runs * 2
    some: list[dict[str, object]] = [{"day": day} for day in rng.choices(days, k=20)]
    yield "first page of one day's", "select * from worklist_page(50, :day)", some * 2
    yield "a day's summary", "select * from daily_summary where scored_date = :day", some * 2
    ids: list[dict[str, object]] = [{"scan": rng.randint(1, scans)} for _ in range(200)]
    yield "latest prediction of one scan", "select * from current_prediction where scan_id = :scan", ids


_NIGHT = """
    select * from review_worklist where scoring_run_id = :run
    order by risk_rank, risk_rank_at_scoring, confidence limit 50"""


def _times(engine: Engine, sql: str, arguments: list[dict[str, object]]) -> list[float]:
    """Return the seconds that the query ``sql`` takes with each of ``arguments``. Before, all of them run once."""
    statement = text(sql)

    def once(connection: Connection, values: dict[str, object]) -> float:
        started = time.perf_counter()
        connection.execute(statement, values).all()
        return time.perf_counter() - started

    with database.transaction(engine) as connection:
        for values in arguments:
            once(connection, values)
        return [once(connection, values) for values in arguments]


def _copy_rates(engine: Engine, *, writers: int) -> Iterator[float]:
    """Yield eight measured speeds, in rows per second of all writers together.

    Each writer writes a batch in its own transaction, like a chunk of a scoring run.
    """
    with ThreadPoolExecutor(writers) as pool:
        for _ in range(8):
            with database.transaction(engine) as connection:
                scans = connection.scalars(text(_SCANS), {"count": _BATCH * writers}).all()
            started = time.perf_counter()
            list(pool.map(lambda part: _copy(engine, part), (scans[place::writers] for place in range(writers))))
            yield _BATCH * writers / (time.perf_counter() - started)


def _copy(engine: Engine, scans: Sequence[int]) -> None:
    columns = [
        *("scan_id", "frame_index", "model_version_id", "scoring_run_id", "predicted_class", "confidence", "margin"),
        *("probability_glioma", "probability_meningioma", "probability_normal", "probability_pituitary"),
        *("out_of_distribution", "review_reasons", "activation_map", "engine", "preprocessing"),
    ]
    given = (0, 1, 1, "normal", 0.7, 0.6, 0.1, 0.1, 0.7, 0.1, 0.1, "{}", "\\x" + "00" * 98, "openvino-cpu", "p")
    with database.transaction(engine) as connection:
        database.copy_rows(connection, "prediction", columns, ((scan, *given) for scan in scans))


_SCANS = """
    insert into scan (state, scoring_run_id, count_frame, size_bytes, arrived_at)
    select 'scored', 1, 1, 1, now() from generate_series(1, :count)
    returning scan_id"""


def _plan(engine: Engine, sql: str) -> str:
    with database.transaction(engine) as connection:
        lines = connection.exec_driver_sql(
            f"explain (analyze, costs off, timing off, summary off, buffers off) {sql}"
        ).scalars()
        return "\n".join(f"  {line}" for line in lines if "Cond" in line or "->" in line or "Filter" in line)


_PLANS = {
    "worklist, one model": """
        select scan_id, frame_index, risk_rank from review_worklist where model_version_id = 1 and not is_scan_judged
        order by risk_rank_at_scoring, confidence limit 50""",
    "a day's summary": "select * from daily_summary where scored_date = (now() at time zone 'utc')::date - 10",
    "prediction of one scan": "select scan_id, frame_index, model_name from current_prediction where scan_id = 8",
}


@contextmanager
def _database_of(count: int) -> Iterator[Engine]:
    with TemporaryDirectory(prefix="database-") as scratch, Stack(Path(scratch) / "stack", airflow=False) as stack:
        engine = database.connect(Settings.from_environment(stack.library_env()))
        migrations.migrate(engine)
        pretend_champion(engine)
        url = stack.postgres.url(owner="postgres")
        _timed("made", lambda: _make(url, count))
        for table, count_rows, size in _sizes(engine):  # reviews write rows again, and leave the old versions as space
            click.echo(f"{table}: {size / count_rows:.0f} bytes a row with its keys, {count_rows:,} rows")
        _timed("reviewed", lambda: _review(url))
        yield engine
        engine.dispose()


def _timed(what: str, act: Callable[[], None]) -> None:
    started = time.perf_counter()
    act()
    click.echo(f"{what} in {time.perf_counter() - started:.0f} s", err=True)


def _make(url: str, count: int) -> None:
    """Insert the rows as the superuser, who can turn off the foreign-key check of each row.

    Indexes are created after the rows.
    """
    with _cursor(url) as cursor:
        cursor.execute("select setseed(0.5); set session_replication_role = replica")
        cursor.execute(
            "select indexname, indexdef from pg_indexes "
            "where tablename = 'prediction' and indexname <> 'prediction_pkey'"
        )
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f"drop index {name}")
        cursor.execute(_MAKE, {"nights": max(1, count // _PER_NIGHT), "scans": count * 8 // 27, "count": count})
        for _, definition in indexes:
            cursor.execute(definition)
        cursor.execute("insert into cross_patient_duplicate select distinct scan_id from cross_patient_duplicate_pair")
        cursor.execute("vacuum analyze")


def _review(url: str) -> None:
    """Insert the reviews, with the triggers that mark the frames as settled."""
    with _cursor(url) as cursor:
        cursor.execute(_SETTLE)
        cursor.execute("vacuum analyze")


@contextmanager
def _cursor(url: str) -> Iterator[psycopg2.extensions.cursor]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"set search_path = {database.SCHEMA}; set maintenance_work_mem = '1GB'; set work_mem = '256MB'")
        yield cursor


_MAKE = """
    insert into model_version (model_name, training_run_id, backbone, precision, image_size, preprocessing,
        count_parameter, artifact_uri, artifact_sha256s, temperature)
    select 'second', training_run_id, 'none', 'int8', 64, 'p', 1, 's3://b/n/', '{}', 1 from training_run;
    insert into scoring_run (run_key, scans_uri, model_version_id, engine, state, started_at)
    select 'night ' || number, 's3://b/s/', 1, 'none', 'balanced', now() - (%(nights)s - number + 1) * interval '1 day'
    from generate_series(1, %(nights)s) as number;
    insert into scoring_run (run_key, kind, model_version_id, engine) values ('again', 'rescore', 2, 'none');
    insert into scan (state, scoring_run_id, count_frame, size_bytes, pixel_sha256, patient_pseudonym, study_pseudonym,
        arrived_at, processed_at)
    select 'scored', 1 + (number - 1) * %(nights)s::bigint / %(scans)s, case when number %% 8 = 0 then 20 else 1 end, 1,
        encode(sha256((case when number %% 150001 = 0 then number - 1 else number end)::text::bytea), 'hex'),
        encode(sha256(('patient ' || number)::bytea), 'hex'),
        encode(sha256((number / 2)::text::bytea), 'hex'), now(), now()
    from generate_series(1, %(scans)s) as number;
    insert into prediction (scan_id, frame_index, model_version_id, scoring_run_id, predicted_class, confidence, margin,
        probability_glioma, probability_meningioma, probability_normal, probability_pituitary, out_of_distribution,
        review_reasons, activation_map, engine, preprocessing, scored_at)
    select scan_id, frame, 1, scoring_run_id,
        (array['glioma', 'meningioma', 'pituitary', 'normal', 'normal', 'normal', 'normal'])[1 + floor(7 * dice)]
            ::tumor_class,
        sure, sure - 0.05, 0.25, 0.25, 0.25, 0.25, 0.1,
        array_remove(array[
            case when random() < 0.005 then 'out_of_distribution' end,
            case when random() < 0.03 then 'several_classes' end,
            case when sure < 0.55 then 'no_likely_class' end, case when random() < 0.02 then 'audit_sample' end,
            case when count_frame > 1 then 'not_validated_on_volumes' end], null),
        decode(repeat('00', 98), 'hex'), 'none', 'p', started_at
    from (
        select scan.scan_id, frame, scan.scoring_run_id, scan.count_frame, scoring_run.started_at,
            (0.5 + random() / 2)::real as sure, random() as dice
        from scan
        join scoring_run using (scoring_run_id)
        cross join lateral generate_series(0, scan.count_frame - 1) as frame
        order by scan.scan_id
        limit %(count)s
    ) as made;
    insert into rescore_run values ((select max(scoring_run_id) from scoring_run), false, 'b', 'b', '{}', 1, 1);
    insert into rescore (scoring_run_id, scan_id, chunk_number, before_model_version_id, state, processed_at)
    select (select max(scoring_run_id) from scoring_run), scan_id, 0, 1, 'rescored', now()
    from scan where scan_id %% 100 = 0;
    insert into prediction (scan_id, frame_index, model_version_id, scoring_run_id, predicted_class, confidence, margin,
        probability_glioma, probability_meningioma, probability_normal, probability_pituitary, review_reasons,
        activation_map, engine, preprocessing)
    select scan_id, frame_index, 2, (select max(scoring_run_id) from scoring_run), predicted_class, confidence, margin,
        probability_glioma, probability_meningioma, probability_normal, probability_pituitary, review_reasons,
        activation_map, engine, preprocessing
    from prediction where scan_id %% 100 = 0;"""

_SETTLE = """
    insert into review (request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose, is_blind)
    select scan_id || ' ' || frame_index, scan_id, frame_index, model_version_id, 'ann', 'normal', 'risk', false
    from prediction where not is_settled and model_version_id = 1 order by risk_rank, confidence limit 20000"""


if __name__ == "__main__":
    main()

"""Test that the memory of discovery does not grow with the listing."""

from __future__ import annotations

import pytest

from benchmarks.discovery import measure_apart, pretend_champion
from benchmarks.listing_server import listing_server
from braintumor.config.settings import Settings
from braintumor.db import database
from tests.sql import rows


@pytest.mark.soak
def test_discovery_memory_does_not_grow_with_keys(empty_settings: Settings) -> None:
    engine = database.connect(empty_settings)
    pretend_champion(engine)
    engine.dispose()
    peaks = []
    for count in (10_000, 30_000):
        with listing_server(count) as address:
            environment = {**empty_settings.to_environment(), "BRAINTUMOR_S3_ENDPOINT": address}
            peaks.append(measure_apart(environment, str(count)).peak_mib)
    counts = "select count_seen, count_new, count_retried from scoring_run order by scoring_run_id"
    assert rows(empty_settings, counts) == [(10_000, 10_000, 0), (30_000, 20_000, 10_000)]
    assert peaks[1] - peaks[0] < 5  # MiB; the rows of 20,000 keys are more than 10

"""Test the size and the stability of the audit sample."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import numpy as np
import pytest

from braintumor.imaging.model_input import PreparedScan
from braintumor.labels import TumorClass
from braintumor.serving.audit_sample import AUDIT_SHARE, is_audited
from braintumor.serving.prediction import Prediction, ReviewReason, scan_predictions

DIGESTS = [sha256(str(number).encode()).hexdigest() for number in range(50_000)]


def test_sample_is_two_percent_stable_and_unrelated_to_digits() -> None:
    sampled = [digest for digest in DIGESTS if is_audited(digest)]
    assert len(sampled) / len(DIGESTS) == pytest.approx(AUDIT_SHARE, abs=0.002)
    assert sampled == [digest for digest in DIGESTS if is_audited(digest)]
    low = sum(digest < "8" for digest in sampled) / len(sampled)
    assert low == pytest.approx(0.5, abs=0.06)


def test_sample_is_the_same_in_every_version() -> None:
    assert next(number for number, digest in enumerate(DIGESTS) if is_audited(digest)) == 53


def test_every_frame_of_sampled_scan_has_audit_reason() -> None:
    sampled = next(digest for digest in DIGESTS if is_audited(digest))
    other = next(digest for digest in DIGESTS if not is_audited(digest))
    expected = (ReviewReason.NOT_VALIDATED_ON_VOLUMES, ReviewReason.AUDIT_SAMPLE)
    assert [one.review_reasons for one in scan_predictions(list(predictions()), volume(sampled))] == [
        expected,
        expected,
    ]
    for content in (other, None):
        assert {one.review_reasons for one in scan_predictions(list(predictions()), volume(content))} == {expected[:1]}


def volume(content_sha256: str | None) -> PreparedScan:
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    return PreparedScan(pixels=pixels, indexes=(3, 7), is_volume=True, content_sha256=content_sha256)


def predictions() -> Iterator[Prediction]:
    for _ in range(2):
        yield Prediction(
            predicted_class=TumorClass.NORMAL,
            confidence=1.0,
            margin=1.0,
            probabilities=(0.0, 0.0, 1.0, 0.0),
            activation_map=np.zeros((1, 1), np.float16),
            review_reasons=(),
        )

"""The prefixes that a night lists: one or several, in one bucket or in many.

>>> str(ScanPrefixes.parse("s3://ward/scans/, s3://archive/"))
's3://archive/,s3://ward/scans/'
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from braintumor.config.settings import Settings
from braintumor.config.variables import PREFIX
from braintumor.errors import ConfigurationError
from braintumor.s3 import S3Uri

_BETWEEN = re.compile(r",\s*(?=s3://)")
"""A comma that no address follows belongs to a key."""


@dataclass(frozen=True, kw_only=True)
class ScanPrefixes:
    """One prefix or more, none within another, in a fixed order: the same set is the same text."""

    uris: tuple[S3Uri, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Comma-separated addresses, each with its closing slash; ``s3://bucket/`` is a whole bucket.

        Raises:
            ConfigurationError: one is no S3 address, has no closing slash, or lies within another one.
        """
        uris = tuple(sorted((_prefix(part) for part in _BETWEEN.split(text.strip().rstrip(","))), key=str))
        for outer, inner in pairwise(uris):  # sorted, so a prefix stands right before what begins with it
            if str(inner).startswith(str(outer)):
                raise ConfigurationError(
                    f"The scans prefix {inner} lies within {outer}, so its objects would be seen twice. Leave one of "
                    "them out."
                )
        return cls(uris=uris)

    def require_apart(self, settings: Settings) -> None:
        """Check that no prefix of scans overlaps the prefix of the dataset, the models or the weights.

        Raises:
            ConfigurationError: training data or model files would be read as scans, or scans as training data.
        """
        for name in ("dataset_uri", "models_uri", "weights_uri"):
            value = getattr(settings, name)
            if value is None or not S3Uri.is_meant_by(value):
                continue
            other = S3Uri.parse_prefix(value)
            for uri in self.uris:
                if str(uri).startswith(str(other)) or str(other).startswith(str(uri)):
                    raise ConfigurationError(
                        f"The scans prefix {uri} overlaps {PREFIX}{name.upper()} ({other}), so one object would be "
                        "both. Neither may contain the other. Give one of them a prefix or bucket of its own."
                    )

    def __iter__(self) -> Iterator[S3Uri]:
        return iter(self.uris)

    def __str__(self) -> str:
        return ",".join(str(uri) for uri in self.uris)


def _prefix(text: str) -> S3Uri:
    uri = S3Uri.parse(text.strip())
    if uri.key and not uri.key.endswith("/"):
        raise ConfigurationError(
            f"A scans prefix ends in '/', or it would also take what lies beside it ({text}_old). Received: {text!r}. "
            f"Write {text + '/'!r}; of several prefixes each, with commas between them."
        )
    return uri

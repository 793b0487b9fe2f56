"""Parse the S3 prefixes that a scoring run lists: one or several, in one or several buckets.

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
"""Separator of the prefixes: a comma before an S3 URI. Any other comma is part of a key."""


@dataclass(frozen=True, kw_only=True)
class ScanPrefixes:
    """Hold one or several S3 prefixes, none within another. They are sorted, so equal sets have equal texts."""

    uris: tuple[S3Uri, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the prefixes in a text: S3 URIs that end with a slash, separated by commas.

        ``s3://bucket/`` means the whole bucket.

        Raises:
            ConfigurationError: a part is not an S3 URI, does not end with a slash, or is within another prefix.
        """
        uris = tuple(sorted((_prefix(part) for part in _BETWEEN.split(text.strip().rstrip(","))), key=str))
        for outer, inner in pairwise(uris):  # sorted, so a prefix comes directly before the prefixes within it
            if str(inner).startswith(str(outer)):
                raise ConfigurationError(
                    f"The scans prefix {inner} is within {outer}, so its objects would be listed twice. Remove one "
                    "of them."
                )
        return cls(uris=uris)

    def require_apart(self, settings: Settings) -> None:
        """Check that no scans prefix overlaps the prefix of the dataset, the models or the weights.

        Raises:
            ConfigurationError: two prefixes overlap. A scoring run could then read training images or model files as
                scans.
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
                        "in both. Neither may contain the other. Give one of them its own prefix or bucket."
                    )

    def __iter__(self) -> Iterator[S3Uri]:
        return iter(self.uris)

    def __str__(self) -> str:
        return ",".join(str(uri) for uri in self.uris)


def _prefix(text: str) -> S3Uri:
    uri = S3Uri.parse(text.strip())
    if uri.key and not uri.key.endswith("/"):
        raise ConfigurationError(
            f"A scans prefix must end with '/', because it would otherwise include {text}_old too. Received: {text!r}. "
            f"Write {text + '/'!r}. Separate several prefixes with commas."
        )
    return uri

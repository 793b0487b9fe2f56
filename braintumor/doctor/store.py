"""Checks of S3. No finding names an object: keys can identify patients."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import islice

from braintumor.config.roles import Role
from braintumor.config.settings import setting_variables
from braintumor.doctor.check_result import CheckResult, note, ok, wrong
from braintumor.doctor.installation import Installation
from braintumor.errors import ObjectChangedError
from braintumor.s3 import S3Uri
from braintumor.scoring.prefixes import ScanPrefixes

PREFIXES = {
    Role.SCORER: ("scans_uri", "models_uri"),
    Role.TRAINER: ("dataset_uri", "models_uri", "weights_uri", "scans_uri"),
    Role.PROMOTER: ("models_uri",),
    Role.REVIEWER: ("scans_uri", "models_uri"),
}
"""What a role has to list; without a role all of them."""
EVERY_PREFIX = ("scans_uri", "dataset_uri", "models_uri", "weights_uri")
FOLDER = "doctor/"
"""Under the models prefix: where the checks write."""
NOTHING_WRITTEN = "not tried, as nothing could be written"
_FIRST, _SECOND = b"written by braintumor doctor", b"written by braintumor doctor again"


def prefixes(role: Role | None) -> tuple[str, ...]:
    """The settings that name what a role has to list."""
    return EVERY_PREFIX if role is None else PREFIXES[role]


def lists(installation: Installation, setting: str) -> Iterator[CheckResult]:
    """The prefixes of one setting can be listed."""
    name = setting_variables()[setting].name
    for prefix in _addresses(installation, setting):
        is_empty = next(installation.store.list(prefix), None) is None
        yield ok("S3 list", f"{name}, bucket {prefix.bucket}: {'nothing there yet' if is_empty else 'lists'}")
    if setting == "weights_uri" and not _addresses(installation, setting):
        yield note("S3 list", f"{name} is a folder, not in S3")


def prefixes_apart(installation: Installation) -> Iterator[CheckResult]:
    """Scans do not overlap the dataset, the models or the weights."""
    ScanPrefixes.parse(installation.settings.require("scans_uri")).require_apart(installation.settings)
    yield ok("S3 prefixes", "scans are apart from the dataset, the models and the weights")


def reads_a_scan(installation: Installation) -> Iterator[CheckResult]:
    """One byte of one scan of each prefix can be read: a policy may let list and not read."""
    for prefix in _addresses(installation, "scans_uri"):
        found = next((entry for entry in islice(installation.store.list(prefix), 1000) if entry.size), None)
        if found is None:
            yield note("S3 read a scan", f"bucket {prefix.bucket}: there is none to read yet")
            continue
        installation.store.read(S3Uri(bucket=found.bucket, key=found.key), etag=found.etag, max_bytes=0)
        yield ok("S3 read a scan", f"bucket {prefix.bucket}: a scan can be read")


def writes(installation: Installation) -> Iterator[CheckResult]:
    """An object of our own, under the models prefix."""
    if installation.role is Role.REVIEWER:
        yield note("S3 write", "not tried: a reviewer writes nothing to S3")
        return
    place = S3Uri.parse_prefix(installation.settings.require("models_uri")) / f"{FOLDER}{uuid.uuid4().hex}"
    installation.store.write(place, _FIRST)
    installation.own = place
    yield ok("S3 write", f"bucket {place.bucket}")


def reads(installation: Installation) -> Iterator[CheckResult]:
    """What was written comes back."""
    if installation.own is None:
        yield note("S3 read", NOTHING_WRITTEN)
    elif installation.store.read(installation.own) == _FIRST:
        yield ok("S3 read", "what was written is what is read")
    else:
        yield wrong("S3 read", "Other bytes came back than were written.", do="Mend the S3 server; trust no night.")


def reads_by_version(installation: Installation) -> Iterator[CheckResult]:
    """A read of a listed version gives that version or an error."""
    check = "S3 conditional get"
    if installation.own is None:
        yield note(check, NOTHING_WRITTEN)
        return
    listed = next(installation.store.list(installation.own), None)
    if listed is None:
        yield wrong(check, "An object that was just written is not listed.", do="Mend the S3 server.")
        return
    installation.store.read(installation.own, etag=listed.etag)
    installation.store.write(installation.own, _SECOND)
    try:
        installation.store.read(installation.own, etag=listed.etag)
    except ObjectChangedError:
        if installation.store.honors_if_match(installation.own):
            yield ok(check, "a changed object is refused by its etag")
        else:
            yield note(check, "the server ignores If-Match; the etag of each answer is compared here all the same")
    else:
        yield wrong(
            check, "An object that changed kept its etag.", do="Use another S3 server: overwritten scans are missed."
        )


def deletes(installation: Installation) -> Iterator[CheckResult]:
    """The object of our own goes again."""
    if installation.own is None:
        yield note("S3 delete", NOTHING_WRITTEN)
        return
    installation.store.delete([installation.own])
    if next(installation.store.list(installation.own), None) is None:
        yield ok("S3 delete", "what was written is gone again")
    else:
        yield wrong("S3 delete", f"An object under {FOLDER} is still there.", do="Mend the S3 server, and delete it.")


def _addresses(installation: Installation, setting: str) -> list[S3Uri]:
    value = installation.settings.require(setting)
    if setting == "scans_uri":
        return list(ScanPrefixes.parse(value))
    if setting == "weights_uri" and not S3Uri.is_meant_by(value):
        return []
    return [S3Uri.parse_prefix(value)]

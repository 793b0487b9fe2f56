"""Check S3. No result names an object, because keys can identify patients."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import islice

from braintumor.config.roles import Role
from braintumor.config.settings import setting_variables
from braintumor.dataset.images.upload_mark import require_ended_uploads
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
"""The settings, by role, whose S3 prefixes the tasks of the role must list."""
EVERY_PREFIX = ("scans_uri", "dataset_uri", "models_uri", "weights_uri")
FOLDER = "doctor/"
"""Key prefix of the test object, under the prefix of the models."""
NOTHING_WRITTEN = "not checked, because nothing could be written"
_FIRST, _SECOND = b"written by braintumor doctor", b"written by braintumor doctor again"


def prefixes(role: Role | None) -> tuple[str, ...]:
    """Return the settings that name the prefixes that ``role`` must list. For ``None``, return those of all roles."""
    return EVERY_PREFIX if role is None else PREFIXES[role]


def lists(installation: Installation, setting: str) -> Iterator[CheckResult]:
    """Check that the prefixes of one setting can be listed. ``setting`` is a field of ``Settings``."""
    name = setting_variables()[setting].name
    for prefix in _addresses(installation, setting):
        is_empty = next(installation.store.list(prefix), None) is None
        yield ok("S3 list", f"{name}, bucket {prefix.bucket}: {'empty' if is_empty else 'can be listed'}")
    if setting == "weights_uri" and not _addresses(installation, setting):
        yield note("S3 list", f"{name} is a folder, not in S3")


def uploads_ended(installation: Installation) -> Iterator[CheckResult]:
    """Check that every upload of labeled images has ended, because snapshots are refused before."""
    prefix = S3Uri.parse_prefix(installation.settings.require("dataset_uri"))
    require_ended_uploads(installation.store.list(prefix), prefix)
    yield ok("uploads", f"bucket {prefix.bucket}: every upload of labeled images has ended")


def prefixes_apart(installation: Installation) -> Iterator[CheckResult]:
    """Check that no prefix of scans overlaps the prefix of the dataset, the models or the weights."""
    ScanPrefixes.parse(installation.settings.require("scans_uri")).require_apart(installation.settings)
    yield ok("S3 prefixes", "scans do not overlap the dataset, the models or the weights")


def reads_a_scan(installation: Installation) -> Iterator[CheckResult]:
    """Check that one scan under each prefix can be read, because a policy can allow only listing."""
    for prefix in _addresses(installation, "scans_uri"):
        scan = next((entry for entry in islice(installation.store.list(prefix), 1000) if entry.size), None)
        if scan is None:
            yield note("S3 read a scan", f"bucket {prefix.bucket}: there is no scan yet")
            continue
        installation.store.read(S3Uri(bucket=scan.bucket, key=scan.key), etag=scan.etag, max_bytes=0)
        yield ok("S3 read a scan", f"bucket {prefix.bucket}: a scan can be read")


def writes(installation: Installation) -> Iterator[CheckResult]:
    """Check that a test object can be written under the prefix of the models."""
    if installation.role is Role.REVIEWER:
        yield note("S3 write", "not checked: a reviewer writes nothing to S3")
        return
    place = S3Uri.parse_prefix(installation.settings.require("models_uri")) / f"{FOLDER}{uuid.uuid4().hex}"
    installation.store.write(place, _FIRST)
    installation.own = place
    yield ok("S3 write", f"bucket {place.bucket}")


def reads(installation: Installation) -> Iterator[CheckResult]:
    """Check that the test object can be read back."""
    if installation.own is None:
        yield note("S3 read", NOTHING_WRITTEN)
    elif installation.store.read(installation.own) == _FIRST:
        yield ok("S3 read", "the written bytes are read back")
    else:
        yield wrong(
            "S3 read",
            "The bytes read are not the bytes written.",
            do="Repair the S3 server. Do not trust its scoring runs.",
        )


def reads_by_version(installation: Installation) -> Iterator[CheckResult]:
    """Check that a read with an etag fails after the object was overwritten, and does not return the new version."""
    check = "S3 conditional get"
    if installation.own is None:
        yield note(check, NOTHING_WRITTEN)
        return
    listed = next(installation.store.list(installation.own), None)
    if listed is None:
        yield wrong(check, "An object that was just written is not listed.", do="Repair the S3 server.")
        return
    installation.store.read(installation.own, etag=listed.etag)
    installation.store.write(installation.own, _SECOND)
    try:
        installation.store.read(installation.own, etag=listed.etag)
    except ObjectChangedError:
        if installation.store.honors_if_match(installation.own):
            yield ok(check, "a changed object is refused by its etag")
        else:
            yield note(check, "the server ignores If-Match, so this library compares the etag of each response")
    else:
        yield wrong(
            check,
            "An object that changed kept its etag.",
            do="Use another S3 server, because this one hides overwritten scans.",
        )


def deletes(installation: Installation) -> Iterator[CheckResult]:
    """Check that the test object can be deleted."""
    if installation.own is None:
        yield note("S3 delete", NOTHING_WRITTEN)
        return
    installation.store.delete([installation.own])
    if next(installation.store.list(installation.own), None) is None:
        yield ok("S3 delete", "the test object is deleted")
    else:
        yield wrong(
            "S3 delete", f"An object under {FOLDER} is still there.", do="Repair the S3 server, and delete the object."
        )


def _addresses(installation: Installation, setting: str) -> list[S3Uri]:
    value = installation.settings.require(setting)
    if setting == "scans_uri":
        return list(ScanPrefixes.parse(value))
    if setting == "weights_uri" and not S3Uri.is_meant_by(value):
        return []
    return [S3Uri.parse_prefix(value)]

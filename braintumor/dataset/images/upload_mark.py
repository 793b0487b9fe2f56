"""Mark an S3 prefix while an upload writes to it, so that an interrupted upload does not look complete.

The mark is a hidden object below the prefix of the upload. It has content until the upload ends, and is empty after
that. So a listing shows each unfinished upload. An upload needs no right to read or delete objects. The name of the
mark has a digest of all files, by which an interrupted upload recognizes its own mark. It also has a random part, so
that two runs of the same upload have two marks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_hex

from braintumor.errors import DatasetError, UploadUnfinishedError
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri

MARK = ".upload"
"""End of the name of each mark. The name begins with a dot, because hidden files are never read as images."""
_CONTENT = b"An upload to this prefix has begun and has not ended. It empties this object as its last step.\n"


@dataclass(frozen=True, kw_only=True)
class UploadMark:
    """The mark of an upload that writes to an S3 prefix.

    Attributes:
        store: the object store.
        uri: the address of the mark.
        same_files: the beginning of the addresses of all marks of these files.
    """

    store: ObjectStore
    uri: S3Uri
    same_files: S3Uri

    def end(self) -> None:
        """Record that every file is uploaded. This also ends the marks of interrupted uploads of the same files."""
        for mark in unfinished_uploads(self.store.list(self.same_files)):
            abandon_upload(self.store, mark)

    @contextmanager
    def before_images(self) -> Iterator[None]:
        """Take the mark back if the ``with`` block fails (context manager). The block must not upload images.

        Other marks of the same files stay. Their uploads run, or were interrupted and are incomplete.
        """
        try:
            yield
        except BaseException:
            self.store.write(self.uri, b"")
            raise


def begin_upload(store: ObjectStore, prefix: S3Uri, files: Mapping[str, str]) -> UploadMark:
    """Mark ``prefix`` as incomplete until ``UploadMark.end``. Only one upload at a time may write to a prefix.

    The mark is written before other marks are listed. So of two uploads that begin at once, at least one sees the mark
    of the other.

    Args:
        store: the object store.
        prefix: the S3 prefix of the upload.
        files: hex sha256 of each file by its key below ``prefix``.

    Raises:
        DatasetError: an upload of other files to ``prefix`` has not ended.
    """
    lines = "\n".join(f"{digest} {key}" for key, digest in sorted(files.items()))
    name = f".{sha256(lines.encode()).hexdigest()[:16]}."
    mark = UploadMark(store=store, uri=prefix / f"{name}{token_hex(4)}{MARK}", same_files=prefix / name)
    store.write(mark.uri, _CONTENT)
    with mark.before_images():
        names = ((entry, entry.key.removeprefix(prefix.key)) for entry in unfinished_uploads(store.list(prefix / ".")))
        others = [entry for entry, each in names if "/" not in each and not each.startswith(name)]
        if others:
            raise DatasetError(
                f"An upload of other files to {prefix} began at {_oldest(others)} and has not ended. One upload at a "
                "time may write to a prefix, because files of equal names would overwrite each other. Nothing was "
                "uploaded. If the other upload still runs, wait for its end, or upload to a prefix of its own. If it "
                "was interrupted, run its command again with the same files. If its files changed or are lost, run "
                f"`braintumor dataset abandon-upload {prefix}`, and then this command again. It asks about each "
                "unfinished upload below the prefix. Answer no for uploads to other prefixes."
            )
    return mark


def unfinished_uploads(entries: Iterable[ObjectEntry]) -> list[ObjectEntry]:
    """Return the marks of a listing whose uploads have not ended."""
    names = ((entry, entry.key.rpartition("/")[2]) for entry in entries)
    return [entry for entry, name in names if name.startswith(".") and name.endswith(MARK) and entry.size]


def require_ended_uploads(entries: Iterable[ObjectEntry], prefix: S3Uri) -> None:
    """Check that no upload below ``prefix`` is running or was interrupted.

    The message names no prefix below ``prefix``, because it is logged.

    Args:
        entries: the listing of ``prefix``.
        prefix: the S3 prefix of the dataset.

    Raises:
        UploadUnfinishedError: an upload has not ended.
    """
    marks = unfinished_uploads(entries)
    if marks:
        raise UploadUnfinishedError(
            f"The labeled images in {prefix} are incomplete: {len(marks)} uploads have not ended. The oldest began at "
            f"{_oldest(marks)}. All uploads must have ended. If an upload still runs, wait for its end. If it was "
            "interrupted, run the same `braintumor dataset upload` again, which continues it. To use the images as "
            f"they are, run `braintumor dataset abandon-upload {prefix}`, which shows each upload and asks."
        )


def abandon_upload(store: ObjectStore, mark: ObjectEntry) -> None:
    """End a mark. Uploaded images stay."""
    store.write(S3Uri(bucket=mark.bucket, key=mark.key), b"")


def describe_upload(mark: ObjectEntry) -> str:
    """Return display text with the S3 prefix of an unfinished upload and the time of its beginning."""
    folder = "".join(mark.key.rpartition("/")[:2])
    return f"an upload to s3://{mark.bucket}/{folder} that began at {_began(mark)}"


def _oldest(marks: Iterable[ObjectEntry]) -> str:
    return _began(min(marks, key=lambda entry: entry.modified_at))


def _began(entry: ObjectEntry) -> str:
    return f"{entry.modified_at:%Y-%m-%d %H:%M} UTC"

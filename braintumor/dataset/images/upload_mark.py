"""Mark an S3 prefix while an upload writes to it, so that an interrupted upload does not look complete.

The mark is a hidden object below the prefix of the upload. It has content until the upload ends, and is empty after
that. So a listing shows each unfinished upload. An upload needs no right to read or delete objects. The name of the
mark has a digest of all files, by which an interrupted upload recognizes its own mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

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
        continues: whether an interrupted upload of the same files left the mark.
    """

    store: ObjectStore
    uri: S3Uri
    continues: bool

    def end(self) -> None:
        """Record that every file is uploaded."""
        self.store.write(self.uri, b"")

    @contextmanager
    def before_images(self) -> Iterator[None]:
        """Take the mark back if the ``with`` block fails (context manager). The block must not upload images.

        The mark of an interrupted upload stays, because its images are incomplete.
        """
        try:
            yield
        except BaseException:
            if not self.continues:
                self.end()
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
    uri = prefix / f".{sha256(lines.encode()).hexdigest()[:16]}{MARK}"
    mark = UploadMark(store=store, uri=uri, continues=any(entry.size for entry in store.list(uri)))
    if not mark.continues:  # the date of an earlier mark tells when the upload began
        store.write(uri, _CONTENT)
    with mark.before_images():
        hidden = unfinished_uploads(store.list(prefix / "."))
        others = [entry for entry in hidden if entry.key != uri.key and "/" not in entry.key.removeprefix(prefix.key)]
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
    """End the mark of an unfinished upload. Uploaded images stay."""
    store.write(S3Uri(bucket=mark.bucket, key=mark.key), b"")


def describe_upload(mark: ObjectEntry) -> str:
    """Return display text with the S3 prefix of an unfinished upload and the time of its beginning."""
    folder = "".join(mark.key.rpartition("/")[:2])
    return f"an upload to s3://{mark.bucket}/{folder} that began at {_began(mark)}"


def _oldest(marks: Iterable[ObjectEntry]) -> str:
    return _began(min(marks, key=lambda entry: entry.modified_at))


def _began(entry: ObjectEntry) -> str:
    return f"{entry.modified_at:%Y-%m-%d %H:%M} UTC"

"""Find initial weights without a download: in a mirror of weights files, or in the file that a recipe names.

The mirror (``BRAINTUMOR_WEIGHTS_URI``) is an S3 prefix or a folder. The mirror has the sha256 of each file next to
the file, in the format of ``sha256sum``::

    resnet50_imagenet_notop.weights.h5
    resnet50_imagenet_notop.weights.h5.sha256
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from braintumor.config.settings import Settings
from braintumor.errors import ObjectMissingError, WeightsError
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.training.recipe import BackboneName, Recipe


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Hold the path and the checked sha256 of a local copy of a weights file."""

    path: Path
    sha256: str


def mirrored_name(backbone: BackboneName) -> str:
    """Return the file name of a backbone's ImageNet weights in the mirror."""
    return f"{backbone}_imagenet_notop.weights.h5"


def add_weights(settings: Settings, path: Path) -> BackboneName:
    """Store a weights file and its sha256 in the mirror, and return the backbone that the weights fit.

    The file in the mirror has the name of this backbone.

    Raises:
        WeightsError: the file is not a weights file, or fits no backbone.
    """
    backbone = _recognize(path)
    data, name = path.read_bytes(), mirrored_name(backbone)
    place = _mirror(settings)
    place.write(name, data)
    place.write(f"{name}.sha256", f"{sha256(data).hexdigest()}  {name}\n".encode())
    return backbone


@contextmanager
def pretrained_weights(settings: Settings, recipe: Recipe) -> Iterator[WeightsFile | None]:
    """Provide a local copy of a recipe's checked weights file while the ``with`` block runs.

    The context manager gives ``None`` for random weights, and for ImageNet weights that are not in the mirror. For such
    ImageNet weights, the caller asks keras.applications.

    Raises:
        WeightsError: a required file or its sha256 is missing, or the sha256 does not match the file.
    """
    data = _find(settings, recipe)
    if data is None:
        yield None
        return
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "initial.weights.h5"
        path.write_bytes(data)
        yield WeightsFile(path=path, sha256=sha256(data).hexdigest())


def _find(settings: Settings, recipe: Recipe) -> bytes | None:
    if recipe.initial_weights == "random":
        return None
    if recipe.initial_weights == "file":
        parent, name = posixpath.split(recipe.weights_file)
        place = _place(settings, parent)
        return _checked(
            recipe.weights_file,
            place.read(name),
            recipe.weights_sha256,
            source=f"recipe {recipe.name!r}",
            remedy="put the right file there, or correct weights_file and weights_sha256 in the recipe",
        )
    place, name = _mirror(settings), mirrored_name(recipe.backbone)
    where, data = f"{settings.require('weights_uri').rstrip('/')}/{name}", place.read(name)
    remedy = "fetch them again, and store them with `braintumor weights add FILE`"
    if data is not None:
        data = _checked(where, data, _recorded_sha256(place, name), source=f"{name}.sha256 next to it", remedy=remedy)
    if recipe.weights_sha256:
        return _checked(where, data, recipe.weights_sha256, source=f"recipe {recipe.name!r}", remedy=remedy)
    return data


def _checked(where: str, data: bytes | None, expected: str, *, source: str, remedy: str) -> bytes:
    if data is None:
        raise WeightsError(f"The initial weights {where} do not exist, and {source} names their sha256: {remedy}.")
    received = sha256(data).hexdigest()
    if received != expected:
        raise WeightsError(
            f"The initial weights {where} have another sha256 than expected: {received[:12]}..., but {source} "
            f"has {expected[:12]}.... A download was cut off, or the file was changed: {remedy}."
        )
    return data


def _recorded_sha256(place: _Place, name: str) -> str:
    digest = (place.read(f"{name}.sha256") or b"").decode(errors="replace").split()
    if not digest:
        raise WeightsError(
            f"The initial weights {name} have no {name}.sha256 next to them, so they cannot be checked. "
            "Store the file with `braintumor weights add FILE`, or write the output of `sha256sum` next to it."
        )
    return digest[0].lower()


class _Place(Protocol):
    """Read and write weights files in a folder or S3 prefix."""

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or ``None`` if the file does not exist."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically, which means completely or not at all."""


@dataclass(frozen=True, kw_only=True)
class _Prefix:
    store: ObjectStore
    uri: S3Uri

    def read(self, name: str) -> bytes | None:
        try:
            return self.store.read(self.uri / name)
        except ObjectMissingError:
            return None

    def write(self, name: str, data: bytes) -> None:
        self.store.write(self.uri / name, data)


@dataclass(frozen=True, kw_only=True)
class _Folder:
    path: Path

    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        temporary = self.path / f".temporary-{name}"
        temporary.write_bytes(data)
        temporary.replace(self.path / name)


def _mirror(settings: Settings) -> _Place:
    return _place(settings, settings.require("weights_uri"))


def _place(settings: Settings, address: str) -> _Place:
    if S3Uri.is_meant_by(address):
        return _Prefix(store=ObjectStore.connect(settings), uri=S3Uri.parse_prefix(address))
    return _Folder(path=Path(address).expanduser())


def _recognize(path: Path) -> BackboneName:
    from braintumor.training.backbones import BACKBONES, load_weights

    if not path.is_file():
        raise WeightsError(
            f"{path} is not a file. Give the weights of a backbone without its top, as Keras stores them."
        )
    for name, backbone in BACKBONES.items():
        try:
            load_weights(backbone.build(224), path)
        except WeightsError:
            continue
        return name
    raise WeightsError(
        f"{path} fits none of {', '.join(BACKBONES)}. Give a .weights.h5 file of one of them, without its top. The .h5 "
        "files that keras.applications downloads are accepted too."
    )

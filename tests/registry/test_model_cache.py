from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.registry import model_cache
from braintumor.serving.artifact import Manifest

DAY_S = 86_400


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache_folder=str(tmp_path))


def aged(folder: Path, *, days: float) -> Path:
    """``folder``, made where it is missing, as if it was last used so long ago."""
    folder.mkdir(parents=True, exist_ok=True)
    then = time.time() - days * DAY_S
    os.utime(folder, (then, then))
    return folder


def cached_model(settings: Settings, source: Path, *, trained_at: str, days: float) -> Path:
    """A copy of a model in the cache, under a name of its own."""
    manifest = replace(Manifest.read(source), trained_at=trained_at)
    folder = model_cache.model_folder(settings, manifest.name)
    shutil.copytree(source, folder)
    manifest.write(folder)
    return aged(folder, days=days)


def test_what_was_not_used_for_long_is_deleted_and_nothing_else(
    settings: Settings, tiny_model_folder: Path, tmp_path: Path
) -> None:
    old, fresh, asked_for = (
        cached_model(settings, tiny_model_folder, trained_at=f"2026010{day}T000000Z", days=days)
        for day, days in ((1, 61), (2, 59), (3, 61))
    )
    assert model_cache.model_folder(settings, asked_for.name) == asked_for
    ended = [
        aged(model_cache.training_folder(settings, "resnet50", "0" * 12), days=15),
        aged(tmp_path / ".arriving-abc", days=2),
        old,
    ]
    others = [
        fresh,
        asked_for,
        aged(model_cache.training_folder(settings, "resnet50", "1" * 12), days=13),
        aged(tmp_path / ".arriving-def", days=0.5),
        aged(tmp_path / "training" / "notes", days=900),
        aged(tmp_path / "photographs", days=900),
        Path(shutil.copytree(fresh, tmp_path / "a model by another name")),
    ]
    aged(others[-1], days=900)
    model_cache.delete_unused(settings)
    assert [folder for folder in ended if folder.exists()] == []
    assert [folder for folder in others if not folder.exists()] == []


def test_what_arrives_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), model_cache.download_folder(tmp_path / "model") as place:
        (place / "model.bin").write_bytes(b"half")
        raise OSError("full")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]

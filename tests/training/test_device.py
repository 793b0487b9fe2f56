"""Test how the 16-bit instructions of a processor are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from braintumor.training import device


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx2 avx512_bf16", True), ("fpu amx_bf16 amx_tile", True), ("fpu avx2 avx512f avx512_vnni", False)],
)
def test_bfloat16_is_found_in_the_flags_of_the_processor(
    flags: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "gpus", list)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nflags : {flags}\n\nprocessor : 1\n")
    assert device.has_bfloat16(cpuinfo) is expected


def test_gpu_has_bfloat16_without_processor_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "gpus", lambda: ["gpu:0"])
    assert device.has_bfloat16(tmp_path / "missing")

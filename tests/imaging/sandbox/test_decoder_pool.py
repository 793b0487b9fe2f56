"""Test that failing decoders neither end the worker nor leave processes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from braintumor.errors import DecoderPoolError
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits
from braintumor.imaging.model_input import PreparedFile, decode_file
from braintumor.imaging.phantom.volume import as_nifti, draw_volume
from braintumor.imaging.render import DrawnFrame
from braintumor.imaging.sandbox import decoder_process
from braintumor.imaging.sandbox.decoder_pool import DecoderPool, decoders_closed_at_end, default_pool
from braintumor.labels import TumorClass
from tests.images import jpeg_of

BAD = "tests.imaging.bad_decoders:by_last_word"
WAITING = "tests.imaging.bad_decoders:by_note"
SIZE = 64


@pytest.fixture(scope="module")
def files(phantoms: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(phantoms.rglob("phantom-*"))][:12]


@pytest.fixture(scope="module")
def bad() -> Iterator[DecoderPool]:
    pool = DecoderPool(processes=2, seconds=1.5, memory=1024**3, decode=BAD)
    yield pool
    pool.close()


def same(one: PreparedFile | Rejection, other: PreparedFile | Rejection) -> bool:
    assert isinstance(one, PreparedFile) and isinstance(other, PreparedFile)
    assert one.scan.indexes == other.scan.indexes and one.scan.is_volume == other.scan.is_volume
    assert (one.format, one.pixel_sha256, one.dicom) == (other.format, other.pixel_sha256, other.dicom)
    return np.array_equal(one.scan.pixels, other.scan.pixels)


def decoder_processes(pid: int) -> list[psutil.Process]:
    processes = psutil.Process(pid).children(recursive=True)
    return [each for each in processes if "braintumor.imaging.sandbox.decoder_worker" in each.cmdline()]


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_pool_returns_same_result_as_in_process_decoding(bad: DecoderPool, files: list[bytes]) -> None:
    assert {file[:2] for file in files} >= {b"\xff\xd8", b"\x89P", b"\0\0"}, "JPEG, PNG and DICOM"
    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(lambda file: bad.read(file, size=SIZE), files * 3))
    here = [decode_file(file, size=SIZE, limits=Limits(), decode=decode) for file in files]
    assert all(same(one, other) for one, other in zip(results, here * 3, strict=True))
    dicom = next(each for each in results if isinstance(each, PreparedFile) and each.dicom is not None)
    assert dicom.dicom is not None and dicom.dicom.patient_id.startswith("PHANTOM-")
    assert dicom.dicom.patient_id not in repr(dicom)
    assert bad.read(b"no image", size=SIZE) == decode(b"no image")


@pytest.mark.parametrize(
    ("word", "reason", "detail"),
    [
        (b"segfault", RejectionReason.DECODER_CRASHED, "3 decoding processes ended by SIGSEGV"),
        (b"exit", RejectionReason.DECODER_CRASHED, "3 decoding processes ended by exit code 7"),
        (b"spin", RejectionReason.DECODER_TIMEOUT, "2 decoding processes were not done after 1.5 s"),
        (b"allocate", RejectionReason.DECODER_OUT_OF_MEMORY, "2 decoding processes needed more than 1,024 MiB"),
    ],
)
def test_file_that_ends_its_decoder_is_rejected_alone(
    bad: DecoderPool, files: list[bytes], word: bytes, reason: RejectionReason, detail: str
) -> None:
    queue = [*files[:4], files[0] + b" " + word, *files[4:8]]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda file: bad.read(file, size=SIZE), queue))
    rejected = results.pop(4)
    assert isinstance(rejected, Rejection)
    assert rejected.reason is reason and rejected.detail.startswith(detail)
    assert all(isinstance(each, PreparedFile) for each in results)


def test_killed_process_does_not_reject_its_file(files: list[bytes], tmp_path: Path) -> None:
    notes = [tmp_path / str(number) for number in range(2)]
    pool = DecoderPool(processes=2, decode=WAITING)
    with ThreadPoolExecutor(4) as threads:
        reading = [
            threads.submit(pool.read, file + b" " + os.fsencode(note), size=SIZE)
            for file, note in zip(files[:2], notes, strict=True)
        ]
        for note in notes:
            until(lambda note=note: note.exists() and bool(note.read_text()))
            os.kill(int(note.read_text()), signal.SIGKILL)
        assert all(isinstance(each.result(30), PreparedFile) for each in reading)
    pool.close()


def test_slow_file_does_not_pause_other_files(files: list[bytes], tmp_path: Path) -> None:
    note = tmp_path / "tries"
    with DecoderPool(processes=2, seconds=4, decode=BAD.replace("by_last_word", "hanging")) as pool:
        with ThreadPoolExecutor(1) as threads:
            slow = threads.submit(pool.read, files[0] + b" " + os.fsencode(note), size=SIZE)
            until(lambda: note.exists() and note.read_text() == "..", seconds=30)
            assert all(isinstance(pool.read(file, size=SIZE), PreparedFile) for file in files[:4])
            assert not slow.done(), "the second try of the slow file still runs"
        result = slow.result()
    assert result == Rejection(
        reason=RejectionReason.DECODER_TIMEOUT, detail="2 decoding processes were not done after 4 s"
    )


def test_file_out_of_memory_is_retried_alone(files: list[bytes], tmp_path: Path) -> None:
    note = tmp_path / "tries"
    with DecoderPool(processes=2, decode=BAD.replace("by_last_word", "short_of_memory")) as pool:
        with ThreadPoolExecutor(1) as threads:
            large = threads.submit(pool.read, files[0] + b" " + os.fsencode(note), size=SIZE)
            until(lambda: note.exists() and note.read_text() == "..", seconds=30)
            assert isinstance(pool.read(files[1], size=SIZE), PreparedFile)
            assert large.done(), "the other file waited"
        result = large.result()
    assert isinstance(result, Rejection) and result.reason is RejectionReason.DECODER_OUT_OF_MEMORY
    assert result.detail.endswith(", all but the first while no other file was decoded")


def test_close_ends_running_and_waiting_reads_with_an_error(files: list[bytes], tmp_path: Path) -> None:
    note, before = tmp_path / "tries", decoder_processes(os.getpid())
    pool = DecoderPool(processes=2, decode=BAD.replace("by_last_word", "hanging"))
    with ThreadPoolExecutor(6) as threads:
        reading = [threads.submit(pool.read, file + b" " + os.fsencode(note), size=SIZE) for file in files[:6]]
        until(lambda: note.exists() and note.read_text() == "..", seconds=30)
        started = set(decoder_processes(os.getpid())) - set(before)
        began = time.monotonic()
        pool.close()
        assert time.monotonic() - began < 5
        for each in reading:
            with pytest.raises(DecoderPoolError, match="closed"):
                each.result(5)
    assert len(started) == 2 and not any(psutil.pid_exists(process.pid) for process in started)
    with pytest.raises(DecoderPoolError, match="closed"):
        pool.read(files[0], size=SIZE)


def test_default_pool_starts_again_after_close(files: list[bytes]) -> None:
    before = decoder_processes(os.getpid())
    for _ in range(2):
        with decoders_closed_at_end():
            assert isinstance(default_pool().read(files[0], size=SIZE), PreparedFile)
        assert set(decoder_processes(os.getpid())) <= set(before)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl adopts orphans")
@pytest.mark.parametrize("end", ["return", "error", "timeout"])
def test_forked_task_without_finalizers_leaves_no_process(end: str) -> None:
    command = [sys.executable, "-m", "tests.imaging.sandbox.forked_task", end]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None and parent.stdin is not None
        assert parent.stdout.readline() == "decoders run\n"
        assert parent.stdout.readline() == "task ended\n"
        assert psutil.Process(parent.pid).children(recursive=True) == []
        parent.stdin.close()


def test_process_killed_while_idle_is_replaced(files: list[bytes]) -> None:
    before = decoder_processes(os.getpid())
    pool = DecoderPool(processes=1, decode=BAD)
    assert isinstance(pool.read(files[0], size=SIZE), PreparedFile)
    (process,) = set(decoder_processes(os.getpid())) - set(before)
    process.kill()
    assert isinstance(pool.read(files[0], size=SIZE), PreparedFile)
    pool.close()
    assert not psutil.pid_exists(process.pid), "a zombie"


def test_decoder_output_is_discarded(bad: DecoderPool, files: list[bytes], capfd: pytest.CaptureFixture[str]) -> None:
    assert isinstance(bad.read(files[0] + b" chat", size=SIZE), PreparedFile)
    assert capfd.readouterr() == ("", "")


def test_decoder_process_does_not_inherit_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINTUMOR_PSEUDONYM_KEY", "secret")
    before = decoder_processes(os.getpid())
    pool = DecoderPool(processes=2)
    started = set(decoder_processes(os.getpid())) - set(before)
    assert [process.environ().get("BRAINTUMOR_PSEUDONYM_KEY") for process in started] == [None, None]
    pool.close()
    assert not any(psutil.pid_exists(process.pid) for process in started), "closing ends them"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_decoder_process_reuses_memory_and_frees_large_files() -> None:
    small, large = (jpeg_of(np.tile(np.arange(128, dtype=np.uint8), (side, side // 128))) for side in (512, 6400))
    others = psutil.Process().children()
    with DecoderPool(processes=1) as pool:
        pool.read(small, size=224)
        (process,) = [each for each in psutil.Process().children() if each not in others]
        before = page_faults(process)
        for _ in range(20):
            pool.read(small, size=224)
        assert (page_faults(process) - before) / 20 < 50, "244 with the defaults of glibc"
        pool.read(large, size=224)
        assert process.memory_info().rss < 200 * 1024**2, "352 MiB with 64 MiB of Pillow's blocks"


def page_faults(process: psutil.Process) -> int:
    """Return the number of page faults that read no disk: the tenth field of proc(5)'s stat."""
    return int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[7])


def test_failed_process_start_is_an_error_not_a_rejection() -> None:
    pool = DecoderPool(processes=1, decode="tests.imaging.nowhere:decode")
    with pytest.raises(DecoderPoolError, match="attempts: exit code 1"):
        pool.read(b"", size=SIZE)
    pool.close()


def test_slow_process_start_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_process, "_START_SECONDS", 0.01)
    with DecoderPool(processes=1) as pool, pytest.raises(DecoderPoolError, match=r"no answer within 0\.01 s"):
        pool.read(b"", size=SIZE)


def test_processes_end_with_a_killed_worker() -> None:
    command = [sys.executable, "-m", "tests.imaging.sandbox.reading_worker"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == "at work\n"
        processes = decoder_processes(worker.pid)
        assert len(processes) == 2
        worker.kill()
    until(
        lambda: not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes), 2
    )


def test_drawn_frame_contains_only_pixels_of_the_file(bad: DecoderPool, files: list[bytes]) -> None:
    for file in files:
        decoded, drawn = decode(file), bad.draw(file, frame=0)
        assert isinstance(decoded, Decoded) and isinstance(drawn, DrawnFrame)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(drawn.png))), decoded.frames[0].pixels)
        assert (drawn.height, drawn.width) == decoded.frames[0].pixels.shape[:2]
        assert b"PHANTOM" not in drawn.png
        small = bad.draw(file, frame=0, size=48)
        assert isinstance(small, DrawnFrame) and max(small.width, small.height) == 48
    broken = bad.draw(files[0] + b" segfault", frame=0)
    assert isinstance(broken, Rejection) and broken.reason is RejectionReason.DECODER_CRASHED
    absent = bad.draw(files[0], frame=5)
    assert isinstance(absent, Rejection) and "no frame 5, it has 1" in absent.detail
    assert bad.draw(b"no image", frame=0) == decode(b"no image")


def test_a_frame_that_is_not_scored_is_not_called_corrupt(bad: DecoderPool) -> None:
    volume = as_nifti(draw_volume(TumorClass.GLIOMA, seed=1, slices=10, size=64))
    dark = bad.draw(volume, frame=0)
    assert isinstance(dark, Rejection) and dark.reason is RejectionReason.BLANK_IMAGE and "no head" in dark.detail
    left_out = bad.draw(volume, frame=3, limits=Limits(max_scored_frames=2))
    assert isinstance(left_out, Rejection) and left_out.reason is RejectionReason.TOO_MANY_FRAMES
    assert "at most 2 frames" in left_out.detail


def test_slices_of_a_volume_are_drawn_from_one_decoding(tmp_path: Path) -> None:
    volume = as_nifti(draw_volume(TumorClass.GLIOMA, seed=1, slices=10, size=64), is_gzipped=False)
    first, second = (volume + b" " + os.fsencode(tmp_path / name) for name in ("first", "second"))
    pool = DecoderPool(processes=1, decode=BAD.replace("by_last_word", "counting"))
    slices = [pool.draw(first, frame=frame) for frame in (2, 3, 4)]
    assert all(isinstance(each, DrawnFrame) for each in slices) and len(set(slices)) == 3
    assert (tmp_path / "first").read_bytes() == b"."
    assert pool.draw(second, frame=2) == slices[0] and pool.draw(first, frame=3) == slices[1]
    assert (tmp_path / "first").read_bytes() == b".."
    pool.close()

"""Whatever a decoder does, the night goes on, and no process is left behind."""

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
from braintumor.imaging.sandbox.decoder_pool import DecoderPool, decoders_closed_at_end, default_pool
from braintumor.labels import TumorClass

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


def children_of(pid: int) -> list[psutil.Process]:
    found = psutil.Process(pid).children(recursive=True)
    return [child for child in found if "braintumor.imaging.sandbox.decoder_worker" in child.cmdline()]


def until(what: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_says_what_this_process_would_say(bad: DecoderPool, files: list[bytes]) -> None:
    assert {file[:2] for file in files} >= {b"\xff\xd8", b"\x89P", b"\0\0"}, "JPEG, PNG and DICOM"
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda file: bad.read(file, size=SIZE), files * 3))
    here = [decode_file(file, size=SIZE, limits=Limits(), decode=decode) for file in files]
    assert all(same(one, other) for one, other in zip(found, here * 3, strict=True))
    dicom = next(each for each in found if isinstance(each, PreparedFile) and each.dicom is not None)
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
def test_a_file_that_ends_its_decoder_is_rejected_and_its_neighbors_are_read(
    bad: DecoderPool, files: list[bytes], word: bytes, reason: RejectionReason, detail: str
) -> None:
    queue = [*files[:4], files[0] + b" " + word, *files[4:8]]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda file: bad.read(file, size=SIZE), queue))
    rejected = found.pop(4)
    assert isinstance(rejected, Rejection)
    assert rejected.reason is reason and rejected.detail.startswith(detail)
    assert all(isinstance(each, PreparedFile) for each in found)


def test_a_child_killed_from_outside_condemns_nobody(files: list[bytes], tmp_path: Path) -> None:
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


def test_a_file_that_is_slow_pauses_no_other_file(files: list[bytes], tmp_path: Path) -> None:
    note = tmp_path / "tries"
    with DecoderPool(processes=2, seconds=4, decode=BAD.replace("by_last_word", "hanging")) as pool:
        with ThreadPoolExecutor(1) as threads:
            slow = threads.submit(pool.read, files[0] + b" " + os.fsencode(note), size=SIZE)
            until(lambda: note.exists() and note.read_text() == "..", seconds=30)
            assert all(isinstance(pool.read(file, size=SIZE), PreparedFile) for file in files[:4])
            assert not slow.done(), "the second try of the slow file is still under way"
        found = slow.result()
    assert found == Rejection(
        reason=RejectionReason.DECODER_TIMEOUT, detail="2 decoding processes were not done after 4 s"
    )


def test_a_file_that_runs_out_of_memory_is_tried_again_alone(files: list[bytes], tmp_path: Path) -> None:
    note = tmp_path / "tries"
    with DecoderPool(processes=2, decode=BAD.replace("by_last_word", "short_of_memory")) as pool:
        with ThreadPoolExecutor(1) as threads:
            large = threads.submit(pool.read, files[0] + b" " + os.fsencode(note), size=SIZE)
            until(lambda: note.exists() and note.read_text() == "..", seconds=30)
            assert isinstance(pool.read(files[1], size=SIZE), PreparedFile)
            assert large.done(), "the other file waited"
        found = large.result()
    assert isinstance(found, Rejection) and found.reason is RejectionReason.DECODER_OUT_OF_MEMORY
    assert found.detail.endswith(", all but the first alone with it")


def test_closing_ends_reads_in_work_and_reads_that_wait_with_an_error(files: list[bytes], tmp_path: Path) -> None:
    note, before = tmp_path / "tries", children_of(os.getpid())
    pool = DecoderPool(processes=2, decode=BAD.replace("by_last_word", "hanging"))
    with ThreadPoolExecutor(6) as threads:
        reading = [threads.submit(pool.read, file + b" " + os.fsencode(note), size=SIZE) for file in files[:6]]
        until(lambda: note.exists() and note.read_text() == "..", seconds=30)
        started = set(children_of(os.getpid())) - set(before)
        began = time.monotonic()
        pool.close()
        assert time.monotonic() - began < 5
        for each in reading:
            with pytest.raises(DecoderPoolError, match="closed"):
                each.result(5)
    assert len(started) == 2 and not any(psutil.pid_exists(child.pid) for child in started)
    with pytest.raises(DecoderPoolError, match="closed"):
        pool.read(files[0], size=SIZE)


def test_the_default_pool_starts_again_after_it_was_closed(files: list[bytes]) -> None:
    before = children_of(os.getpid())
    for _ in range(2):
        with decoders_closed_at_end():
            assert isinstance(default_pool().read(files[0], size=SIZE), PreparedFile)
        assert set(children_of(os.getpid())) <= set(before)


_TASK = """
import atexit, ctypes, os, signal, sys, threading, time, weakref
from pathlib import Path
from braintumor.imaging.sandbox import decoder_pool
from braintumor.imaging.sandbox.decoder_pool import DecoderPool, decoders_closed_at_end, default_pool

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a task leaves behind becomes a child of this process

class Timeout(BaseException):
    pass

def raise_timeout(*_):
    raise Timeout

weakref.finalize(Timeout, print)  # its hook is registered before the fork, as in Airflow's supervisor
task = os.fork()
if task == 0:
    atexit._clear()
    try:
        with decoders_closed_at_end():
            decoder_pool._shared.append(DecoderPool(processes=2, decode="tests.imaging.bad_decoders:by_last_word"))
            default_pool().read(b"", size=64)
            print("decoders run", flush=True)
            if sys.argv[1] == "error":
                raise ValueError
            if sys.argv[1] == "timeout":
                signal.signal(signal.SIGALRM, raise_timeout)
                signal.setitimer(signal.ITIMER_REAL, 0.5)
                reader = threading.Thread(target=lambda: default_pool().read(b"a spin", size=64), daemon=True)
                reader.start()
                time.sleep(60)
    except (ValueError, Timeout):
        pass
    atexit._run_exitfuncs()
    os._exit(0)
os.waitpid(task, 0)
print("task ended", flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted by prctl")
@pytest.mark.parametrize("end", ["return", "error", "timeout"])
def test_a_forked_task_that_leaves_without_finalizers_leaves_no_decoder_and_no_zombie(end: str) -> None:
    command = [sys.executable, "-c", _TASK, end]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None and parent.stdin is not None
        assert parent.stdout.readline() == "decoders run\n"
        assert parent.stdout.readline() == "task ended\n"
        assert psutil.Process(parent.pid).children(recursive=True) == []
        parent.stdin.close()


def test_a_child_killed_while_it_waits_for_work_is_replaced(files: list[bytes]) -> None:
    before = children_of(os.getpid())
    pool = DecoderPool(processes=1, decode=BAD)
    assert isinstance(pool.read(files[0], size=SIZE), PreparedFile)
    (child,) = set(children_of(os.getpid())) - set(before)
    child.kill()
    assert isinstance(pool.read(files[0], size=SIZE), PreparedFile)
    pool.close()
    assert not psutil.pid_exists(child.pid), "a zombie"


def test_nothing_that_a_decoder_prints_is_shown(
    bad: DecoderPool, files: list[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(bad.read(files[0] + b" chat", size=SIZE), PreparedFile)
    assert capfd.readouterr() == ("", "")


def test_a_child_holds_none_of_the_workers_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINTUMOR_PSEUDONYM_KEY", "secret")
    before = children_of(os.getpid())
    pool = DecoderPool(processes=2)
    started = set(children_of(os.getpid())) - set(before)
    assert [child.environ().get("BRAINTUMOR_PSEUDONYM_KEY") for child in started] == [None, None]
    pool.close()
    assert not any(psutil.pid_exists(child.pid) for child in started), "closing ends them"


def test_an_interpreter_that_cannot_start_is_no_fault_of_the_file() -> None:
    pool = DecoderPool(processes=1, decode="tests.imaging.nowhere:decode")
    with pytest.raises(DecoderPoolError, match="ended by exit code 1"):
        pool.read(b"", size=SIZE)
    pool.close()


_WORKER = """
import sys, threading, time
from braintumor.imaging.sandbox.decoder_pool import DecoderPool
pool = DecoderPool(processes=2, decode="tests.imaging.bad_decoders:by_last_word")
pool.read(b"", size=64)
def read():  # in a thread, which ends before its process does
    pool.read(b"", size=64)
thread = threading.Thread(target=read)
thread.start(), thread.join()
threading.Thread(target=lambda: pool.read(b"a spin", size=64), daemon=True).start()
time.sleep(0.3)
print("at work", flush=True)
time.sleep(600)
"""


def test_children_end_with_a_worker_that_is_killed_busy_or_idle() -> None:
    with subprocess.Popen([sys.executable, "-c", _WORKER], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == "at work\n"
        children = children_of(worker.pid)
        assert len(children) == 2
        worker.kill()
    until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children), 2)


def test_a_child_draws_a_frame_of_a_file_with_nothing_of_it_but_pixels(bad: DecoderPool, files: list[bytes]) -> None:
    for file in files:
        decoded, picture = decode(file), bad.draw(file, frame=0)
        assert isinstance(decoded, Decoded) and isinstance(picture, DrawnFrame)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture.png))), decoded.frames[0].pixels)
        assert (picture.height, picture.width) == decoded.frames[0].pixels.shape[:2]
        assert b"PHANTOM" not in picture.png
        small = bad.draw(file, frame=0, size=48)
        assert isinstance(small, DrawnFrame) and max(small.width, small.height) == 48
    broken = bad.draw(files[0] + b" segfault", frame=0)
    assert isinstance(broken, Rejection) and broken.reason is RejectionReason.DECODER_CRASHED
    assert isinstance(bad.draw(files[0], frame=5), Rejection)
    assert bad.draw(b"no image", frame=0) == decode(b"no image")


def test_the_slices_of_a_volume_are_drawn_from_one_decoding(tmp_path: Path) -> None:
    volume = as_nifti(draw_volume(TumorClass.GLIOMA, seed=1, slices=10, size=64), is_gzipped=False)
    first, second = (volume + b" " + os.fsencode(tmp_path / name) for name in ("first", "second"))
    pool = DecoderPool(processes=1, decode=BAD.replace("by_last_word", "counting"))
    slices = [pool.draw(first, frame=frame) for frame in (2, 3, 4)]
    assert all(isinstance(each, DrawnFrame) for each in slices) and len(set(slices)) == 3
    assert (tmp_path / "first").read_bytes() == b"."
    assert pool.draw(second, frame=2) == slices[0] and pool.draw(first, frame=3) == slices[1]
    assert (tmp_path / "first").read_bytes() == b".."
    pool.close()

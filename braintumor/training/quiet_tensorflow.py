"""Hide the messages that TensorFlow prints while it is imported and that no setting hides.

On CPUs with VNNI, TensorFlow prints twice that oneDNN is on. It writes to the file descriptor of standard
error before its logging starts, so ``TF_CPP_MIN_LOG_LEVEL`` has no effect.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from tempfile import TemporaryFile
from types import ModuleType

from braintumor.training.device import cpu_flags

_HIDDEN = (b"oneDNN custom operations are on", b"All log messages before absl::InitializeLog() is called")


def hide_start_up_messages() -> None:
    """Hide the messages when this process imports TensorFlow for the first time.

    Other lines of standard error appear after the import. On a CPU without VNNI nothing changes, because TensorFlow
    prints no such message there, and may end the process with an error that must stay visible.
    """
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        if not any("vnni" in flag for flag in cpu_flags()):
            return None
        spec = find_spec(fullname)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _QuietLoader(fullname, spec.loader.path)
        return spec


class _QuietLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        with _filtered_stderr():
            super().exec_module(module)


@contextmanager
def _filtered_stderr() -> Iterator[None]:
    """Collect what is written to standard error, and then write the lines without a hidden message."""
    kept = os.dup(2)
    with TemporaryFile() as collected:
        os.dup2(collected.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            collected.seek(0)
            for line in collected:
                if not any(message in line for message in _HIDDEN):
                    os.write(2, line)

"""Measure the size of the Python packages of both container images. Only the training image has TensorFlow.

::

    python -m benchmarks.environments

The benchmark installs the packages of both images into temporary virtual environments.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

PROJECT: Final = Path(__file__).parent.parent
ENVIRONMENTS: Final = {"scoring": "airflow", "training": "airflow,train"}
"""Container image -> the extras of this project that its Dockerfile target installs."""


def main() -> None:
    """Print the size of the Python packages of each container image, measured by `du`, and their ratio."""
    sizes: dict[str, float] = {}
    with TemporaryDirectory(prefix="braintumor-environments-") as folder:
        constraints = Path(folder) / "constraints.txt"
        lock = (PROJECT / "requirements.lock").read_text()
        constraints.write_text(re.sub(r" \\\n(\s+--hash=\S+( \\\n)?)+", "", lock))
        for name, extras in ENVIRONMENTS.items():
            sizes[name] = _installed(Path(folder) / name, f"{PROJECT}[{extras}]", constraints)
            print(f"{name}: {sizes[name]:,.0f} MB installed")
    print(f"training / scoring: {sizes['training'] / sizes['scoring']:.2f}")


def _installed(folder: Path, requirement: str, constraints: Path) -> float:
    """Install ``requirement`` into a new environment, and return the size of its packages in megabytes.

    Fail if TensorFlow is installed without the extra ``train``, or missing with it.
    """
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python, among = str(folder / "bin/python"), str(constraints)
    install = ["pip", "install", "--quiet", "--python", python, "--link-mode=copy", "-c", among]
    subprocess.run([*uv, *install, requirement], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    assert (packages / "tensorflow").exists() == ("train" in requirement.rpartition("[")[2]), packages
    said = subprocess.run(["du", "-sm", packages], check=True, capture_output=True, text=True)
    return float(said.stdout.split()[0])


if __name__ == "__main__":
    main()

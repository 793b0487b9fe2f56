"""Run a function of this file as a service: ``python service_programs.py FUNCTION``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time


def start_child() -> None:
    """Start a process in a session of its own, and print its process id."""
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    print(child.pid, flush=True)


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)


def print_environment() -> None:
    print(json.dumps(dict(os.environ)), flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    time.sleep(300)

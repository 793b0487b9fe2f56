"""Run PostgreSQL, an S3 server and Airflow as plain processes in one folder, without Docker.

``python -m devstack up`` starts the development stack and leaves it running. ``Stack`` does the same from Python.
"""

from devstack.stack import Stack

__all__ = ["Stack"]

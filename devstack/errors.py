"""What can go wrong with the embedded stack.

::

    BrainTumorError
    `-- StackError
        |-- ServiceFailedError    a service ended or never became ready; carries the tail of its log
        |-- BinaryMissingError    no program for this platform
        |-- AirflowAnswerError    Airflow's REST API refused
        `-- EnvFileExistsError    the file of secrets exists
"""

from __future__ import annotations

from braintumor.errors import BrainTumorError


class StackError(BrainTumorError):
    """The embedded stack cannot do what was asked."""


class ServiceFailedError(StackError):
    """A service ended or never became ready."""


class BinaryMissingError(StackError):
    """A program that the stack needs cannot be had on this platform."""


class AirflowAnswerError(StackError):
    """Airflow's REST API refused, or did not answer in time."""


class EnvFileExistsError(StackError):
    """The file of secrets exists and must not be overwritten."""

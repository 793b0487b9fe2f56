"""Define the errors of the development stack.

::

    BrainTumorError
    `-- StackError
        |-- ServiceFailedError    a service ended or never became ready; has the tail of its log
        |-- BinaryMissingError    no program for this platform
        |-- AirflowAnswerError    Airflow's REST API refused
        `-- EnvFileExistsError    the file of secrets exists
"""

from __future__ import annotations

from braintumor.errors import BrainTumorError


class StackError(BrainTumorError):
    """The development stack cannot perform the command."""


class ServiceFailedError(StackError):
    """A service ended or never became ready."""


class BinaryMissingError(StackError):
    """A program that the stack needs is not available on this platform."""


class AirflowAnswerError(StackError):
    """Airflow's REST API refused a request, or did not respond in time."""


class EnvFileExistsError(StackError):
    """The file of secrets exists and must not be overwritten."""

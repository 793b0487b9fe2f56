"""Define all errors that this library raises on purpose.

A message says what is wrong, what is allowed, what was received, and what to do. Errors of other libraries are chained,
except errors of S3 and Postgres. The texts of S3 and Postgres contain addresses and rows, which can name a patient. A
scan that cannot be scored is not an error but a ``Rejection`` (``imaging.decoding.rejection``).
"""

from __future__ import annotations

TRY_AGAIN = 75
"""Exit code of a command when S3 or Postgres is unreachable (EX_TEMPFAIL in sysexits.h)."""


class BrainTumorError(Exception):
    """Base class of all errors of this library."""


class ConfigurationError(BrainTumorError):
    """A setting or rule file is missing or wrong."""


class RecipeError(ConfigurationError):
    """A recipe is unknown or has a value out of range."""


class GateRulesError(ConfigurationError):
    """The gate's rule file is missing, lacks a key, or has an unknown key or a value out of range."""


class LabelRulesError(ConfigurationError):
    """The review label rule file is missing, lacks a key, or has an unknown key or a value out of range."""


class RunReportRulesError(ConfigurationError):
    """The run report's rule file is missing, lacks a key, or has an unknown key or a value out of range."""


class QualityRulesError(ConfigurationError):
    """The data quality rule file is missing, lacks a key, or has an unknown key or a value out of range."""


class ObjectStoreError(BrainTumorError):
    """S3 sent an unexpected response."""


class ObjectStoreUnreachableError(ObjectStoreError):
    """The endpoint sent no response, or a response that is not S3."""


class BucketMissingError(ObjectStoreError):
    """The bucket does not exist or is not visible to these credentials."""


class ObjectMissingError(ObjectStoreError):
    """The key does not exist."""


class ObjectRefusedError(ObjectStoreError):
    """S3 refuses to return one object, for example because of its policy, encryption or storage class."""


class ObjectChangedError(ObjectStoreError):
    """The object was overwritten after it was listed."""


class DatabaseError(BrainTumorError):
    """Postgres refused an SQL statement. ``sqlstate`` is the error code, or ``None`` if Postgres sent none."""

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DatabaseUnreachableError(DatabaseError):
    """Postgres cannot be reached."""


class MigrationError(DatabaseError):
    """The database schema does not fit this version of the library."""


class QueryError(BrainTumorError):
    """The saved query is unknown, or its result cannot be written in the requested format."""


class DecoderPoolError(BrainTumorError):
    """No decoder process can be started."""


class DatasetError(BrainTumorError):
    """Labeled images cannot become a snapshot."""


class UploadUnfinishedError(DatasetError):
    """An upload of labeled images has not ended. A retry succeeds if the upload ends before it."""


class EvaluationError(BrainTumorError):
    """Metrics cannot be computed or compared."""


class WeightsError(BrainTumorError):
    """Pretrained weights are missing or do not fit the backbone."""


class QuantizationError(BrainTumorError):
    """A model cannot be exported in 8 bits, or the 8-bit export deviates too far from the model."""


class RecalibrationError(BrainTumorError):
    """The audit sample has too few blind reviews to fit prediction sets."""


class TrainingError(BrainTumorError):
    """A training made no model, and a retry would not make one either."""


class ModelIntegrityError(BrainTumorError):
    """Files of a model are missing or differ from their registration."""


class OutOfDeviceMemoryError(BrainTumorError):
    """The memory of the accelerator is too small for one frame."""


class PromotionError(BrainTumorError):
    """A promotion or rollback is refused, or a model cannot be the reference model.

    For example, no gate verdict passed the model, or the gate compared the model with an earlier champion.
    """


class NoChampionError(BrainTumorError):
    """No model is promoted, so there is no champion."""


class RescoreError(BrainTumorError):
    """A rescoring of old scans is refused. It has no stated reason, or its model is not allowed to predict."""


class ErasureError(BrainTumorError):
    """A patient's data cannot be erased."""


class ReviewError(BrainTumorError):
    """A review decision or a review session is refused, or a frame cannot be shown."""


class ScoringRunError(BrainTumorError):
    """A scoring run cannot continue."""


class StaleClaimError(ScoringRunError):
    """A newer attempt owns this chunk, so this attempt must write nothing."""


class UnbalancedRunError(ScoringRunError):
    """The rows of a scoring run do not add up to the objects that the run listed."""


class RedRunError(ScoringRunError):
    """A scoring run is committed and its rows add up, but its status is red, so an operator must act."""

"""Every error this library raises on purpose.

::

    BrainTumorError
    |-- ConfigurationError        a setting, recipe, or rule file is missing or wrong
    |   |-- RecipeError
    |   |-- GateRulesError
    |   |-- LabelRulesError
    |   |-- RunReportRulesError
    |   `-- QualityRulesError
    |-- ObjectStoreError          S3 answered with something unexpected
    |   |-- ObjectStoreUnreachableError
    |   |-- BucketMissingError
    |   |-- ObjectMissingError
    |   |-- ObjectRefusedError    S3 refuses this one object
    |   `-- ObjectChangedError    the object is no longer the version that was listed
    |-- DatabaseError             Postgres refused
    |   |-- DatabaseUnreachableError
    |   `-- MigrationError
    |-- QueryError                a question that the cookbook does not have
    |-- DecoderPoolError                the processes that decode do not start
    |-- OutOfDeviceMemoryError    a device's memory does not suffice for one frame
    |-- DatasetError              labeled images that cannot become a snapshot
    |-- EvaluationError           figures that cannot be computed or compared
    |-- WeightsError              initial weights that cannot be had or do not fit
    |-- TrainingError             a training that came to no model
    |-- QuantizationError         an 8-bit export that cannot be made, or strays
    |-- ModelIntegrityError       an artifact that is not what the registry says
    |-- PromotionError            a promotion that the ledger refuses
    |-- NoChampionError           nobody has been promoted yet
    |-- RescoreError              a rescore that is refused
    |-- ErasureError              nothing is stored of the person who is to be erased
    |-- ReviewError               an answer of a person, or a frame to read, that cannot be
    `-- ScoringRunError           a night that cannot go on
        |-- StaleClaimError       a newer attempt owns this chunk
        |-- UnbalancedRunError    the rows do not add up to what was seen
        `-- RedRunError         it balances, and yet a person must look

A message says what is wrong, what is allowed, what was received, and what to do next. Foreign errors are chained, but
for those of S3 and Postgres: their texts hold addresses and rows, and so can name a patient in a log.
A scan that cannot be scored is not an error but a ``Rejection`` (see ``imaging.rejection``).
"""

from __future__ import annotations

TRY_AGAIN = 75
"""The exit code of a command to which S3 or Postgres did not answer, as in sysexits.h."""


class BrainTumorError(Exception):
    """Root of the tree: catch this to catch everything above."""


class ConfigurationError(BrainTumorError):
    """A setting or file of rules is missing or wrong."""


class RecipeError(ConfigurationError):
    """A recipe is unknown or has a value out of range."""


class GateRulesError(ConfigurationError):
    """The gate's rule file is missing, has an unknown key, or a value out of range."""


class LabelRulesError(ConfigurationError):
    """The rule file of reviewed labels is missing, has an unknown key, or a value out of range."""


class RunReportRulesError(ConfigurationError):
    """The morning sheet's rule file is missing, has an unknown key, or a value out of range."""


class QualityRulesError(ConfigurationError):
    """The data quality rule file is missing, has an unknown key, or a value out of range."""


class ObjectStoreError(BrainTumorError):
    """S3 answered with something unexpected."""


class ObjectStoreUnreachableError(ObjectStoreError):
    """No answer from the endpoint, or none that was S3."""


class BucketMissingError(ObjectStoreError):
    """The bucket does not exist or is not visible to these credentials."""


class ObjectMissingError(ObjectStoreError):
    """The key does not exist."""


class ObjectRefusedError(ObjectStoreError):
    """S3 refuses this object: its policy, its encryption, or an archive it was moved to."""


class ObjectChangedError(ObjectStoreError):
    """The object was overwritten since it was listed."""


class DatabaseError(BrainTumorError):
    """Postgres refused a statement; ``sqlstate`` is its code, where Postgres gave one."""

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DatabaseUnreachableError(DatabaseError):
    """No connection to Postgres."""


class MigrationError(DatabaseError):
    """The schema is not in a state that this version can work with."""


class QueryError(BrainTumorError):
    """The cookbook does not have this question, or cannot write its answer so."""


class DecoderPoolError(BrainTumorError):
    """No process that decodes can be started."""


class DatasetError(BrainTumorError):
    """Labeled images that cannot become a snapshot."""


class EvaluationError(BrainTumorError):
    """Figures that cannot be computed or compared."""


class WeightsError(BrainTumorError):
    """Initial weights that cannot be had or do not fit the backbone."""


class QuantizationError(BrainTumorError):
    """A model cannot be exported in 8 bits, or what came of it strays from it."""


class TrainingError(BrainTumorError):
    """A training that came to no model, and would not the next time."""


class ModelIntegrityError(BrainTumorError):
    """A model's files are missing or are not what its record says."""


class OutOfDeviceMemoryError(BrainTumorError):
    """The accelerator's memory does not suffice for one frame."""


class PromotionError(BrainTumorError):
    """The ledger refuses a promotion: no verdict passes it, or not against today's champion."""


class NoChampionError(BrainTumorError):
    """Nobody has been promoted yet."""


class RescoreError(BrainTumorError):
    """A rescore is refused: its model may not answer, or nobody said that it may."""


class ErasureError(BrainTumorError):
    """An erasure that cannot be done."""


class ReviewError(BrainTumorError):
    """A person's answer that is refused, or a frame that cannot be shown."""


class ScoringRunError(BrainTumorError):
    """A scoring run that cannot go on."""


class StaleClaimError(ScoringRunError):
    """A newer attempt owns this chunk: this one must write nothing."""


class UnbalancedRunError(ScoringRunError):
    """Seen is not the sum of its parts."""


class RedRunError(ScoringRunError):
    """A night whose rows are committed and balance, and that a person must look at."""

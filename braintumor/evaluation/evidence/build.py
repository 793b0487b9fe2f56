"""Build the evidence about one model from rows of Postgres. No file of the data set is read, and no model runs.

>>> evidence = build_evidence(engine, find_model(engine, "resnet50-20261123T030000Z-3f2a9c"))
>>> evidence["gate"]["verdict"]["passed"]
True
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version

from sqlalchemy import Engine

from braintumor.db.database import transaction
from braintumor.evaluation.evidence import performance
from braintumor.evaluation.evidence.checklists import filled
from braintumor.evaluation.evidence.content import Evidence, not_assessed
from braintumor.evaluation.evidence.operation import alarms, decisions
from braintumor.evaluation.evidence.origin import data, versions
from braintumor.evaluation.model_history import history_of
from braintumor.evaluation.report.model_card import INTENDED_USE, LIMITS
from braintumor.registry.model_versions import ModelVersion, training_of

CHECKLISTS, REPORT = "checklists", "report"
_FORMAT = 1
"""Version of the keys. Raise it if a key changes its meaning or is removed."""


def build_evidence(engine: Engine, model: ModelVersion, *, site_use: str = "") -> Evidence:
    """Return the evidence about a model at this time: sections of blocks, and the checklists.

    Blocks without enough data are "not assessed" with the reason. The evidence contains no patient, no key of a scan
    and no reviewer. It contains the names of people who promoted, approved or requested.

    Args:
        engine: engine of the Postgres database.
        model: the model.
        site_use: the site's text about its intended use.
    """
    history, training = history_of(engine, model), training_of(engine, model)
    with transaction(engine) as connection:
        evidence: Evidence = {
            REPORT: {
                "about": {
                    "model": model.model_name,
                    "created_at": datetime.now(UTC),
                    "format": _FORMAT,
                    "created_by": f"braintumor {version('braintumor')}",
                }
            },
            "intended_use": {
                "packaged": INTENDED_USE,
                "site": site_use.strip() or not_assessed("no text of the site was given (--intended-use)"),
            },
            "gate": performance.gate(history),
            "test": performance.test_accuracy(connection, model, history),
            "live": performance.live_accuracy(connection, model),
            "subgroups": performance.subgroups(connection, model),
            "alarms": alarms(connection, model),
            "decisions": decisions(connection, model, history),
            "data": data(connection, model),
            "versions": versions(connection, model, training),
            "limits": {"known": list(LIMITS)},
        }
    return {**evidence, CHECKLISTS: filled(evidence)}

"""Declare the environment variables that are not fields of ``Settings``.

Each variable is declared once, for the program that reads it and for docs/configuration.md.

>>> from braintumor.config.variables import NIGHTLY_SCHEDULE
>>> NIGHTLY_SCHEDULE.read()
'0 1 * * *'

DAG files import this module while Airflow parses them, so it imports the standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

PREFIX = "BRAINTUMOR_"
TASK_ROLES = ("scorer", "trainer", "promoter", "reviewer")
"""Values of ``roles.Role`` with which tasks and pages connect to Postgres. Each role has its own Airflow connection."""
FORMER_NAMES = {
    "BRAINTUMOR_BACKEND": "BRAINTUMOR_ENGINE",
    "BRAINTUMOR_RUN_REPORT_RULES": "BRAINTUMOR_MORNING_RULES",
    "BRAINTUMOR_DEMO_DATASET": "BRAINTUMOR_DATASET",
    "BRAINTUMOR_DEMO_WEIGHTS": "BRAINTUMOR_WEIGHTS",
    "BRAINTUMOR_DEMO_NIGHT": "BRAINTUMOR_NIGHT",
}
"""Former names of variables by current name. This release reads former names with a warning, the next does not."""


class Kind(StrEnum):
    """Name the types of the texts in variables. docs/configuration.md shows these names."""

    TEXT = "text"
    URL = "URL"
    S3_PREFIX = "S3 prefix"
    S3_PREFIXES = "S3 prefixes, with commas"
    PLACE = "S3 prefix or folder"
    PATH = "path"
    LIST = "names, with commas"
    CRON = "cron expression"
    TIMEZONE = "IANA timezone"
    HOURS = "hours, a number"
    CONNECTION = "Airflow connection"


@dataclass(frozen=True, kw_only=True)
class Variable:
    """Describe one environment variable, with its type, meaning and default."""

    name: str
    kind: Kind
    doc: str
    default: str | None = None
    is_secret: bool = False

    def given(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """Return the value of the variable or of its former name, or ``None``. An empty value counts as unset."""
        value, former = environment.get(self.name), FORMER_NAMES.get(self.name)
        if not value and former and (value := environment.get(former)):
            _warn_of_former_name(former, self.name)
        return value or None

    def read(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """Return the value in the environment, or the default."""
        return self.given(environment) or self.default

    def text(self, environment: Mapping[str, str] = os.environ) -> str:
        """Return the value in the environment, or the default. The variable must have a default."""
        value = self.read(environment)
        assert value is not None, f"{self.name} has no default"
        return value


@cache
def _warn_of_former_name(former: str, current: str) -> None:
    sys.stderr.write(f"braintumor: {former!r} is now {current!r}. The next release does not read {former!r}.\n")


TIMEZONE = Variable(name="BRAINTUMOR_TIMEZONE", kind=Kind.TIMEZONE, default="UTC", doc="the timezone of the schedules")
NIGHTLY_SCHEDULE = Variable(
    name="BRAINTUMOR_NIGHTLY_SCHEDULE", kind=Kind.CRON, default="0 1 * * *", doc="schedule of nightly_scoring"
)
WEEKLY_SCHEDULE = Variable(
    name="BRAINTUMOR_WEEKLY_SCHEDULE", kind=Kind.CRON, default="0 3 * * 0", doc="schedule of weekly_retrain"
)
REVIEWED_SCHEDULE = Variable(
    name="BRAINTUMOR_REVIEWED_SCHEDULE", kind=Kind.CRON, default="30 5 * * *", doc="schedule of reviewed_labels"
)
RECIPES = Variable(
    name="BRAINTUMOR_RECIPES",
    kind=Kind.LIST,
    default="vgg16,resnet50",
    doc="the recipes that weekly_retrain trains unless its form names others",
)
RETRAIN_DEADLINE_HOURS = Variable(
    name="BRAINTUMOR_RETRAIN_DEADLINE_HOURS",
    kind=Kind.HOURS,
    default="24",
    doc="hours after its queueing when a retrain is reported as late; 0: no deadline",
)
NIGHT_DEADLINE_HOURS = Variable(
    name="BRAINTUMOR_NIGHT_DEADLINE_HOURS",
    kind=Kind.HOURS,
    default="0",
    doc="hours after its queueing when a nightly run is reported as late; 0: no deadline",
)
NOTIFIERS = Variable(
    name="BRAINTUMOR_NOTIFIERS",
    kind=Kind.PATH,
    doc="the TOML file of notifiers and their events; unset: no notifications",
)
OF_DAGS = (
    NIGHTLY_SCHEDULE,
    WEEKLY_SCHEDULE,
    REVIEWED_SCHEDULE,
    RECIPES,
    RETRAIN_DEADLINE_HOURS,
    NIGHT_DEADLINE_HOURS,
    NOTIFIERS,
)
"""Variables that the files in ``dags/`` read. These files also read TIMEZONE, which is a setting of the library too."""

DEMO_DATASET = Variable(
    name="BRAINTUMOR_DEMO_DATASET", kind=Kind.PATH, doc="a folder of labeled images, instead of phantoms"
)
DEMO_WEIGHTS = Variable(
    name="BRAINTUMOR_DEMO_WEIGHTS",
    kind=Kind.PATH,
    doc="`imagenet`: download the ImageNet weights; or a folder of ImageNet weights files; or a file of pretrained "
    "weights for the backbone that they fit",
)
DEMO_NIGHT = Variable(
    name="BRAINTUMOR_DEMO_NIGHT", kind=Kind.PATH, doc="a folder of scans for the scoring run, instead of phantoms"
)
OF_DEMO = (DEMO_DATASET, DEMO_WEIGHTS, DEMO_NIGHT)
"""Variables that ``make demo`` reads."""

LOG_FORMAT = Variable(
    name="BRAINTUMOR_LOG_FORMAT",
    kind=Kind.TEXT,
    doc="`json`: the command `braintumor` logs to standard error, one line of JSON per event; unset: no log",
)
OF_COMMAND = (LOG_FORMAT,)
"""Variables that the command ``braintumor`` reads at its start."""

STACK_MARK = Variable(
    name="BRAINTUMOR_STACK_MARK",
    kind=Kind.TEXT,
    doc="set by the development stack in its processes, to find them again; never set it by hand",
)
NO_SKIPS = Variable(
    name="BRAINTUMOR_NO_SKIPS", kind=Kind.TEXT, doc="set to any text: a skipped test counts as a failure"
)
COMPOSE_PASSWORD = Variable(
    name="BRAINTUMOR_DB_PASSWORD",
    kind=Kind.TEXT,
    is_secret=True,
    doc="in the .env of docker-compose.yaml: the password of the login that migrates",
)
OF_TOOLS = (COMPOSE_PASSWORD, STACK_MARK, NO_SKIPS)
"""Variables that only the compose file, the development stack and the tests read."""

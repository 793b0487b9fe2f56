"""The environment variables that no ``Settings`` carries: each declared here once, for who reads it and for the page.

>>> from braintumor.config.variables import NIGHTLY_SCHEDULE
>>> NIGHTLY_SCHEDULE.read()
'0 1 * * *'

Ground floor, standard library only: DAG files read theirs while they are parsed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

PREFIX = "BRAINTUMOR_"
TASK_ROLES = ("scorer", "trainer", "promoter", "reviewer")
"""What tasks and pages connect to Postgres as, each through a connection of its own; of ``roles.Role``."""


class Kind(StrEnum):
    """What the text of a setting must be."""

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
    """One environment variable: its name, what its text must be, what counts where it is unset, what it means."""

    name: str
    kind: Kind
    doc: str
    default: str | None = None
    is_secret: bool = False

    def read(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """The variable's value, or the default; an empty value counts as unset."""
        return environment.get(self.name) or self.default

    def text(self, environment: Mapping[str, str] = os.environ) -> str:
        """As ``read``, of a variable that has a default."""
        value = self.read(environment)
        assert value is not None, f"{self.name} has no default"
        return value


TIMEZONE = Variable(
    name="BRAINTUMOR_TIMEZONE", kind=Kind.TIMEZONE, default="UTC", doc="the timezone in which the schedules are meant"
)
NIGHTLY_SCHEDULE = Variable(
    name="BRAINTUMOR_NIGHTLY_SCHEDULE", kind=Kind.CRON, default="0 1 * * *", doc="when nightly_scoring runs"
)
WEEKLY_SCHEDULE = Variable(
    name="BRAINTUMOR_WEEKLY_SCHEDULE", kind=Kind.CRON, default="0 3 * * 0", doc="when weekly_retrain runs"
)
REVIEWED_SCHEDULE = Variable(
    name="BRAINTUMOR_REVIEWED_SCHEDULE", kind=Kind.CRON, default="30 5 * * *", doc="when reviewed_labels runs"
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
    doc="after so many hours from its queueing people are told that a retrain is late; 0: no deadline",
)
NIGHT_DEADLINE_HOURS = Variable(
    name="BRAINTUMOR_NIGHT_DEADLINE_HOURS",
    kind=Kind.HOURS,
    default="0",
    doc="after so many hours from its queueing people are told that a night is late; 0: no deadline",
)
NOTIFIERS = Variable(
    name="BRAINTUMOR_NOTIFIERS", kind=Kind.PATH, doc="the TOML file of who is told what; unset: nobody is told"
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
"""What the files in ``dags/`` read themselves, beside TIMEZONE, which is a setting of the library too."""

DEMO_DATASET = Variable(
    name="BRAINTUMOR_DATASET", kind=Kind.PATH, doc="a folder of labeled images, in place of phantoms"
)
DEMO_WEIGHTS = Variable(
    name="BRAINTUMOR_WEIGHTS", kind=Kind.PATH, doc="a file of pretrained weights of the backbone that they belong to"
)
DEMO_NIGHT = Variable(
    name="BRAINTUMOR_NIGHT", kind=Kind.PATH, doc="a folder of scans for the night, in place of phantoms"
)
OF_DEMO = (DEMO_DATASET, DEMO_WEIGHTS, DEMO_NIGHT)
"""What ``make demo`` reads."""

LOG_FORMAT = Variable(
    name="BRAINTUMOR_LOG_FORMAT",
    kind=Kind.TEXT,
    doc="`json`: the command `braintumor` writes its log to standard error, a line of JSON an event; unset: no log",
)
OF_COMMAND = (LOG_FORMAT,)
"""What the command ``braintumor`` reads before it does anything."""

STACK_MARK = Variable(
    name="BRAINTUMOR_STACK_MARK",
    kind=Kind.TEXT,
    doc="set by the embedded stack in its processes, to find them again; never set it by hand",
)
NO_SKIPS = Variable(
    name="BRAINTUMOR_NO_SKIPS", kind=Kind.TEXT, doc="set to anything: a test that is skipped is a failure"
)
COMPOSE_PASSWORD = Variable(
    name="BRAINTUMOR_DB_PASSWORD",
    kind=Kind.TEXT,
    is_secret=True,
    doc="in the .env of docker-compose.yaml: the password of the login that migrates",
)
OF_TOOLS = (COMPOSE_PASSWORD, STACK_MARK, NO_SKIPS)
"""What only the compose file, the embedded stack and the tests read."""

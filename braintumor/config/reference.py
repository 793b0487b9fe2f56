"""Everything that can be set, in one list: what ``braintumor config show`` and docs/configuration.md are made of.

Declared elsewhere, once each: ``settings.Settings`` what the library is handed, ``variables`` what DAG files and tools
read themselves. Connections and pools are Airflow's; here is what they are for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from braintumor.config import variables
from braintumor.config.airflow_connections import variable_of
from braintumor.config.redaction import masked
from braintumor.config.roles import Role
from braintumor.config.settings import DATABASE_CONNECTION, OF_ROLE, STORE_CONNECTION, setting_fields
from braintumor.config.variables import PREFIX, TASK_ROLES, Kind, Variable
from braintumor.markdown import table

URL_ROLES = (*TASK_ROLES, Role.ERASER.value)
"""Whoever connects to Postgres as a role of its own."""
POOLS: Mapping[str, str] = {
    "gpu": "bounds the trainings at a time; as many slots as there are accelerators",
    "score": "bounds the chunks of frames that are scored at a time, of a night, a preview or a rescore",
}
_LIKE_OURS = re.compile(r"BRAIN_?TUMOU?R_|AIRFLOW_CONN_BRAIN_?TUMOU?R_(DB|S3)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Variables of one reader."""

    title: str
    words: str
    variables: tuple[Variable, ...]


@dataclass(frozen=True, kw_only=True)
class SettingValue:
    """A variable as it is now: ``value`` has no secret in it; ``source`` is environment, default or unset."""

    section: str
    name: str
    value: str | None
    source: str
    is_secret: bool


def sections() -> list[Section]:
    """Every variable that anything here reads, by reader."""
    return [
        Section(
            title="The library",
            words="Read by each command, task and page where it starts.",
            variables=tuple(field.variable for field in setting_fields()),
        ),
        Section(
            title="Postgres, for each role",
            words="Where one is set, it goes before `BRAINTUMOR_DATABASE_URL` for what runs as that role.",
            variables=tuple(_url_of(role) for role in URL_ROLES),
        ),
        Section(
            title="The DAGs",
            words="Read by the files in `dags/`: schedules, recipes and deadline where Airflow parses them, so by the "
            "dag-processor and by workers as a task starts; `BRAINTUMOR_NOTIFIERS` by the scheduler's machine too.",
            variables=variables.OF_DAGS,
        ),
        Section(
            title="Airflow's connections",
            words="Tasks and pages ask Airflow for them where the environment names neither `BRAINTUMOR_DATABASE_URL` "
            "(or the role's own), nor `BRAINTUMOR_S3_ENDPOINT` or `BRAINTUMOR_S3_ACCESS_KEY`. They can lie in "
            "Airflow's own database, in a secrets backend, or in the environment under the names below.",
            variables=(*(_connection_of(role) for role in TASK_ROLES), _STORE),
        ),
        Section(title="The command", words="Read by the command `braintumor` alone.", variables=variables.OF_COMMAND),
        Section(title="The demo", words="Read by `make demo`, and by nothing else.", variables=variables.OF_DEMO),
        Section(
            title="Compose, embedded stack and tests",
            words="No part of the system in production reads them. The other names in the `.env` of "
            "`docker-compose.yaml` are passwords that `python -m devstack secrets` makes.",
            variables=variables.OF_TOOLS,
        ),
    ]


def show(environment: Mapping[str, str] = os.environ) -> list[SettingValue]:
    """Every variable with its value now and where that comes from, secrets masked."""
    return [_shown(section, variable, environment) for section in sections() for variable in section.variables]


def unknown(environment: Mapping[str, str] = os.environ) -> dict[str, str | None]:
    """Variables that look like ours and that nothing reads, each with the nearest name that is read."""
    known = [variable.name for section in sections() for variable in section.variables]
    strange = sorted(name for name in environment if _LIKE_OURS.match(name) and name not in known)
    return {name: _nearest(name, known) for name in strange}


def page() -> str:
    """The whole page, in Markdown."""
    parts = [_HEAD]
    for section in sections():
        parts += [f"## {section.title}\n", f"{section.words}\n", _variables(section.variables)]
    parts += ["## Airflow's pools\n", _POOL_WORDS]
    return "\n".join(parts) + "\n" + table(["pool", "meaning"], [[f"`{name}`", doc] for name, doc in POOLS.items()])


def _url_of(role: str) -> Variable:
    doc = f"Postgres, for what runs as {role}"
    return Variable(name=OF_ROLE + role.upper(), kind=Kind.URL, is_secret=True, doc=doc)


def _connection_of(role: str) -> Variable:
    name = f"{DATABASE_CONNECTION}_{role}"
    doc = f"`{name}`, of type postgres: the login that is a member of `{Role(role).in_database}`"
    return Variable(name=variable_of(name), kind=Kind.CONNECTION, is_secret=True, doc=doc)


_STORE = Variable(
    name=variable_of(STORE_CONNECTION),
    kind=Kind.CONNECTION,
    is_secret=True,
    doc=f"`{STORE_CONNECTION}`, of type aws: login and password are the access key and the secret key; extra fields "
    "`endpoint_url` (none: AWS itself) and `region_name`",
)


def _shown(section: Section, variable: Variable, environment: Mapping[str, str]) -> SettingValue:
    value = variable.read(environment)
    source = "environment" if environment.get(variable.name) else "unset" if value is None else "default"
    return SettingValue(
        section=section.title,
        name=variable.name,
        value=None if value is None else masked(variable, value),
        source=source,
        is_secret=variable.is_secret,
    )


def _nearest(name: str, known: list[str]) -> str | None:
    """Compared without what all names begin with, which makes any two of them alike."""
    start, _, end = re.sub(r"BRAIN_?TUMOU?R_", PREFIX, name.upper()).rpartition(PREFIX)
    by_end = {candidate.removeprefix(start + PREFIX): candidate for candidate in known if candidate.startswith(start)}
    longer = [candidate for candidate in by_end if candidate.startswith(end)]
    found = longer or get_close_matches(end, by_end, n=1, cutoff=0.6)
    return by_end[found[0]] if found else None


def _variables(found: tuple[Variable, ...]) -> str:
    rows = [
        [f"`{each.name}`", f"{each.kind}, secret" if each.is_secret else each.kind,
         f"`{each.default}`" if each.default else "", each.doc]
        for each in found
    ]  # fmt: skip
    return table(["variable", "type", "default", "meaning"], rows)


_HEAD = """# Configuration

Everything that can be set. Made by `braintumor config show --markdown`, and a test keeps it current: do not edit it.
`braintumor config show` says what each is now and where that comes from, with secrets masked, and names variables that
look like these and that nothing reads.

An empty value counts as unset. What the environment names goes before Airflow's connections
([why](decisions/0009-environment-before-connections.md)). `braintumor doctor` tries what the settings lead to.
"""
_POOL_WORDS = """Make both before the first run: a task in a pool that is not there is never started. Tasks that train
also need a worker that listens on the queue `gpu`.

```sh
airflow pools set gpu 1 accelerators
airflow pools set score 8 "scoring chunks at a time"
```
"""

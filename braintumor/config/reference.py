"""List all settings, for ``braintumor config show`` and docs/configuration.md.

``settings.Settings`` and ``variables`` declare the settings. This module adds the Airflow connections and pools.
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
from braintumor.config.settings import DATABASE_CONNECTION, OF_ROLE, STORE_CONNECTION, setting_variables
from braintumor.config.variables import FORMER_NAMES, PREFIX, Kind, Variable
from braintumor.markdown import table

POOLS: Mapping[str, str] = {
    "gpu": "limits concurrent trainings; one slot for each accelerator",
    "score": "limits the chunks that are scored concurrently, in a scoring run, a preview or a rescore",
}
_LIKE_OURS = re.compile(r"BRAIN_?TUMOU?R_|AIRFLOW_CONN_BRAIN_?TUMOU?R_(DB|S3)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Hold a section of docs/configuration.md, with the variables that one program or part of the project reads."""

    title: str
    text: str
    variables: tuple[Variable, ...]


@dataclass(frozen=True, kw_only=True)
class SettingValue:
    """Hold the current value of a variable, with secrets masked. ``source`` is environment, default or unset."""

    section: str
    name: str
    value: str | None
    source: str
    is_secret: bool


def sections() -> list[Section]:
    """Return all variables that this project reads, with one section for each reader."""
    return [
        Section(
            title="The library",
            text="Read by each command, task and page at its start.",
            variables=tuple(setting_variables().values()),
        ),
        Section(
            title="Postgres, for each role",
            text="A set variable overrides `BRAINTUMOR_DATABASE_URL` for that role.",
            variables=tuple(_url_of(role) for role in Role),
        ),
        Section(
            title="The DAGs",
            text="Read by the files in `dags/`. The dag-processor and the workers read schedules, recipes and "
            "deadlines when they parse these files. The scheduler's machine also reads `BRAINTUMOR_NOTIFIERS`.",
            variables=variables.OF_DAGS,
        ),
        Section(
            title="Airflow's connections",
            text="Tasks and pages request them from Airflow if the environment has no `BRAINTUMOR_DATABASE_URL` (or "
            "the role's own), or has no `BRAINTUMOR_S3_ENDPOINT`. S3 keys in the environment replace those of the "
            "connection. Airflow reads connections from its own database, from a secrets backend, or from the "
            "variables below. Only commands use those of the analyst and the eraser.",
            variables=(*(_connection_of(role) for role in Role), _STORE),
        ),
        Section(title="The command", text="Read only by the command `braintumor`.", variables=variables.OF_COMMAND),
        Section(title="The demo", text="Read only by `make demo`.", variables=variables.OF_DEMO),
        Section(
            title="Compose, development stack and tests",
            text="Not read in production. The other names in the `.env` of `docker-compose.yaml` are passwords that "
            "`python -m devstack secrets` creates.",
            variables=variables.OF_TOOLS,
        ),
    ]


def show(environment: Mapping[str, str] = os.environ) -> list[SettingValue]:
    """Return the current value of every variable, with secrets masked, and the source of the value."""
    return [_shown(section, variable, environment) for section in sections() for variable in section.variables]


def unknown(environment: Mapping[str, str] = os.environ) -> dict[str, str | None]:
    """Return variables that look like settings but are not read, each with the nearest known name or ``None``."""
    known = [variable.name for section in sections() for variable in section.variables]
    read = {*known, *FORMER_NAMES.values()}
    return {name: _nearest(name, known) for name in sorted(environment) if _LIKE_OURS.match(name) and name not in read}


def page() -> str:
    """Return the text of docs/configuration.md."""
    parts = [_HEAD]
    for section in sections():
        parts += [f"## {section.title}\n", f"{section.text}\n", _variables(section.variables)]
    parts += ["## Former names\n", "Read in this release, with a warning on standard error, and not in the next one.\n"]
    parts += [table(["former name", "current name"], [[f"`{old}`", f"`{new}`"] for new, old in FORMER_NAMES.items()])]
    parts += ["## Airflow's pools\n", _POOL_TEXT]
    return "\n".join(parts) + "\n" + table(["pool", "meaning"], [[f"`{name}`", doc] for name, doc in POOLS.items()])


def _url_of(role: Role) -> Variable:
    doc = f"Postgres URL of the role {role}"
    return Variable(name=OF_ROLE + role.upper(), kind=Kind.URL, is_secret=True, doc=doc)


def _connection_of(role: Role) -> Variable:
    name = f"{DATABASE_CONNECTION}_{role}"
    doc = f"`{name}`, of type postgres: the login that is a member of `{role.in_database}`"
    return Variable(name=variable_of(name), kind=Kind.CONNECTION, is_secret=True, doc=doc)


_STORE = Variable(
    name=variable_of(STORE_CONNECTION),
    kind=Kind.CONNECTION,
    is_secret=True,
    doc=f"`{STORE_CONNECTION}`, of type aws: login and password are the access key and the secret key; extra fields "
    "`endpoint_url` (unset: AWS itself) and `region_name`",
)


def _shown(section: Section, variable: Variable, environment: Mapping[str, str]) -> SettingValue:
    value = variable.read(environment)
    source = "environment" if variable.given(environment) else "unset" if value is None else "default"
    return SettingValue(
        section=section.title,
        name=variable.name,
        value=None if value is None else masked(variable, value),
        source=source,
        is_secret=variable.is_secret,
    )


def _nearest(name: str, known: list[str]) -> str | None:
    """Return the known variable name most similar to an unknown name, or ``None`` if no known name is similar.

    The prefix ``BRAINTUMOR_`` is not compared.
    """
    start, _, end = re.sub(r"BRAIN_?TUMOU?R_", PREFIX, name.upper()).rpartition(PREFIX)
    by_end = {candidate.removeprefix(start + PREFIX): candidate for candidate in known if candidate.startswith(start)}
    longer = [candidate for candidate in by_end if candidate.startswith(end)]
    matches = longer or get_close_matches(end, by_end, n=1, cutoff=0.6)
    return by_end[matches[0]] if matches else None


def _variables(variables: tuple[Variable, ...]) -> str:
    rows = [
        [f"`{each.name}`", f"{each.kind}, secret" if each.is_secret else each.kind,
         f"`{each.default}`" if each.default else "", each.doc]
        for each in variables
    ]  # fmt: skip
    return table(["variable", "type", "default", "meaning"], rows)


_HEAD = """# Configuration

All settings. `braintumor config show --markdown` generates this page and a test keeps it current, so do not edit it.
`braintumor config show` prints the current value and source of each setting, with secrets masked. It also lists
variables that look like settings and that nothing reads.

An empty value counts as unset. The environment overrides Airflow's connections
([why](decisions/0009-environment-before-connections.md)). `braintumor doctor` checks the settings.
"""
_POOL_TEXT = """Create both before the first run, because Airflow never starts a task whose pool is missing. Training
tasks also need a worker that listens on the queue `gpu`.

```sh
airflow pools set gpu 1 accelerators
airflow pools set score 8 "scoring chunks at a time"
```
"""

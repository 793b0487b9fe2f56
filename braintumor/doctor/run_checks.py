"""Run all checks one after another, also after a failed one. Skip checks of a server that is unreachable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from braintumor.config.redaction import without_secrets
from braintumor.config.roles import Role
from braintumor.doctor import machine, postgres, store
from braintumor.doctor.check_result import CheckResult, note, ok, wrong
from braintumor.doctor.installation import Installation
from braintumor.errors import (
    BrainTumorError,
    DatabaseUnreachableError,
    ModelIntegrityError,
    ObjectStoreUnreachableError,
)
from braintumor.registry import model_versions

Server = type[ObjectStoreUnreachableError] | type[DatabaseUnreachableError]
S3: Server = ObjectStoreUnreachableError
POSTGRES: Server = DatabaseUnreachableError
NAMES = {S3: "S3", POSTGRES: "Postgres"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """Describe a check.

    ``run`` yields the results of the check. ``name`` names the check in a result if ``run`` fails or is skipped.
    ``needs`` has the servers without which the check is skipped.
    """

    name: str
    run: Callable[[Installation], Iterator[CheckResult]]
    needs: tuple[Server, ...] = ()


def run_checks(installation: Installation) -> Iterator[CheckResult]:
    """Run all checks and yield their results, with ``***`` in place of every secret of the settings."""
    unreachable: set[Server] = set()
    try:
        for check in _checks(installation.role):
            for result in _run(check, installation, unreachable):
                yield replace(result, message=without_secrets(result.message, installation.settings))
    finally:
        installation.close()


def champion(installation: Installation) -> Iterator[CheckResult]:
    """Check that the champion's files in S3 equal the registered files, and that the model loads."""
    current = model_versions.find_champion(installation.engine)
    if current is None and installation.role not in {None, Role.SCORER}:
        yield note("champion", "there is no champion yet")
        return
    model = current or model_versions.champion(installation.engine)  # raises with the reason
    try:
        model_versions.require_whole(installation.store, installation.settings, model)
    except ModelIntegrityError:
        yield wrong(
            "champion",
            f"The files of {model.model_name} in S3 are missing, or are not the registered ones.",
            do="Restore them from a backup, or run `braintumor model rollback --reason ...`. "
            f"`braintumor model verify {model.model_name}` shows details.",
        )
    else:
        yield ok("champion", f"{model.model_name}: complete, and loads")


def _run(check: Check, installation: Installation, unreachable: set[Server]) -> Iterator[CheckResult]:
    for server in check.needs:
        if server in unreachable:
            yield note(check.name, f"not checked, because {NAMES[server]} is unreachable")
            return
    try:
        yield from check.run(installation)
    except BrainTumorError as error:
        unreachable |= {server for server in check.needs if isinstance(error, server)}
        yield wrong(check.name, str(error), do="")
    except Exception as error:
        yield wrong(check.name, f"A fault of this program ({type(error).__name__}).", do="Report it.")


def _checks(role: Role | None) -> Iterator[Check]:
    yield Check(name="settings", run=machine.settings)
    yield Check(name="pseudonym key", run=machine.pseudonym_key)
    yield Check(name="S3 prefixes", run=store.prefixes_apart)
    for setting in store.prefixes(role):
        yield Check(name="S3 list", run=partial(store.lists, setting=setting), needs=(S3,))
    if "dataset_uri" in store.prefixes(role):
        yield Check(name="uploads", run=store.uploads_ended, needs=(S3,))
    if "scans_uri" in store.prefixes(role):
        yield Check(name="S3 read a scan", run=store.reads_a_scan, needs=(S3,))
    yield Check(name="S3 write", run=store.writes, needs=(S3,))
    yield Check(name="S3 read", run=store.reads, needs=(S3,))
    yield Check(name="S3 conditional get", run=store.reads_by_version, needs=(S3,))
    yield Check(name="S3 delete", run=store.deletes)  # even if an earlier check failed
    yield Check(name="Postgres", run=postgres.version, needs=(POSTGRES,))
    yield Check(name="Postgres login", run=postgres.login, needs=(POSTGRES,))
    yield Check(name="migrations", run=postgres.schema, needs=(POSTGRES,))
    yield Check(name="Postgres rights", run=postgres.rights, needs=(POSTGRES,))
    yield Check(name="champion", run=champion, needs=(S3, POSTGRES))
    yield Check(name="clock, S3", run=machine.clock_of_store, needs=(S3,))
    yield Check(name="clock, Postgres", run=machine.clock_of_database, needs=(POSTGRES,))
    yield Check(name="disk", run=machine.disk)
    yield Check(name="GPU", run=machine.gpu)

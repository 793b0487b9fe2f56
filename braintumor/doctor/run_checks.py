"""All checks in turn. One that fails stops no other; what does not answer is asked once."""

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
    """A check by the name that it has if it cannot be carried out, and the servers that it asks."""

    name: str
    run: Callable[[Installation], Iterator[CheckResult]]
    asks: tuple[Server, ...] = ()


def run_checks(installation: Installation) -> Iterator[CheckResult]:
    """Every finding as it comes, without any secret of the settings in its words."""
    silent: set[Server] = set()
    try:
        for check in _checks(installation.role):
            for finding in _carried_out(check, installation, silent):
                yield replace(finding, words=without_secrets(finding.words, installation.settings))
    finally:
        installation.close()


def champion(installation: Installation) -> Iterator[CheckResult]:
    """Its files, as they are in S3 now, are what was registered, and load."""
    found = model_versions.find_champion(installation.engine)
    if found is None and installation.role not in {None, Role.SCORER}:
        yield note("champion", "there is none yet")
        return
    model = found or model_versions.champion(installation.engine)  # which says why there is none
    try:
        model_versions.require_whole(installation.store, installation.settings, model)
    except ModelIntegrityError:
        yield wrong(
            "champion",
            f"The files of {model.model_name} in S3 are gone, or are not those that were registered.",
            do="Restore them from a backup, or go back: `braintumor model rollback --reason ...`. "
            f"`braintumor model verify {model.model_name}` says more.",
        )
    else:
        yield ok("champion", f"{model.model_name}: whole, and loads")


def _carried_out(check: Check, installation: Installation, silent: set[Server]) -> Iterator[CheckResult]:
    for server in check.asks:
        if server in silent:
            yield note(check.name, f"not tried, as {NAMES[server]} did not answer")
            return
    try:
        yield from check.run(installation)
    except BrainTumorError as error:
        silent |= {server for server in check.asks if isinstance(error, server)}
        yield wrong(check.name, str(error), do="")
    except Exception as error:
        yield wrong(check.name, f"A fault of this program ({type(error).__name__}).", do="Report it.")


def _checks(role: Role | None) -> Iterator[Check]:
    yield Check(name="settings", run=machine.settings)
    yield Check(name="pseudonym key", run=machine.pseudonym_key)
    yield Check(name="S3 prefixes", run=store.prefixes_apart)
    for setting in store.prefixes(role):
        yield Check(name="S3 list", run=partial(store.lists, setting=setting), asks=(S3,))
    if "scans_uri" in store.prefixes(role):
        yield Check(name="S3 read a scan", run=store.reads_a_scan, asks=(S3,))
    yield Check(name="S3 write", run=store.writes, asks=(S3,))
    yield Check(name="S3 read", run=store.reads, asks=(S3,))
    yield Check(name="S3 conditional get", run=store.reads_by_version, asks=(S3,))
    yield Check(name="S3 delete", run=store.deletes)  # whatever happened since it was written
    yield Check(name="Postgres", run=postgres.version, asks=(POSTGRES,))
    yield Check(name="Postgres login", run=postgres.login, asks=(POSTGRES,))
    yield Check(name="migrations", run=postgres.schema, asks=(POSTGRES,))
    yield Check(name="Postgres rights", run=postgres.rights, asks=(POSTGRES,))
    yield Check(name="champion", run=champion, asks=(S3, POSTGRES))
    yield Check(name="clock, S3", run=machine.clock_of_store, asks=(S3,))
    yield Check(name="clock, Postgres", run=machine.clock_of_database, asks=(POSTGRES,))
    yield Check(name="disk", run=machine.disk)
    yield Check(name="GPU", run=machine.gpu)

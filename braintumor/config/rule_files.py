"""Rule files: TOML that names every rule, so that leaving one out never loosens anything.

Every rule file is read by this; what each value may be is for its rules to check, with the words for it from here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from braintumor.errors import ConfigurationError


def read_rules(source: Path, *, name: str, variable: str, error: type[ConfigurationError]) -> dict[str, Any]:
    """The plain values of a rule file.

    Args:
        source: the file.
        name: of the rules, as in "The gate's rule file".
        variable: the environment variable that can name another file.
        error: what to raise.

    Raises:
        ConfigurationError: as ``error``; the file is missing, or not TOML.
    """
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as exc:
        raise error(
            f"{name} rule file {source} cannot be read: {exc.strerror}. "
            f"Set {variable} to a readable TOML file, or unset it to use the packaged rules."
        ) from exc
    except ValueError as exc:  # not TOML, or not UTF-8
        raise error(f"{name} rule file {source} is not TOML: {exc}. Correct that line.") from exc


def is_whole(value: object) -> TypeGuard[int]:
    """A whole number, 1 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_number(value: object) -> TypeGuard[int | float]:
    """A number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def refusal(name: str, *, allowed: str, value: object, error: type[ConfigurationError]) -> ConfigurationError:
    """What to raise of a value that a rule cannot have; ``name`` is the rule's, with its file."""
    return error(f"{name} must be {allowed}. Received: {value!r}. Correct this line of the file.")


def require_keys(
    values: Mapping[str, Any], known: Collection[str], *, where: str, why: str, error: type[ConfigurationError]
) -> None:
    """Refuse values that lack a key, or have one too many.

    Args:
        values: as read.
        known: every key that is allowed, and needed.
        where: the beginning of the message.
        why: the reason that nothing may be left out.
        error: what to raise.

    Raises:
        ConfigurationError: as ``error``; naming the first such key.
    """
    allowed = ", ".join(known)
    for key in values:
        if key not in known:
            raise error(
                f"{where}: unknown key {key!r}. Allowed: {allowed}. "
                f"Received: {key} = {values[key]!r}. Remove it or correct its spelling."
            )
    for key in known:
        if key not in values:
            raise error(
                f"{where}: missing key {key!r}. Required: {allowed}. "
                f"Received: {', '.join(values) or 'nothing'}. Add it: {why}."
            )

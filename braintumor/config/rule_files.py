"""Read rule files. A rule file is TOML and must state every rule, so that a missing line never loosens a rule."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from braintumor.errors import ConfigurationError

Whole = Annotated[int, Field(ge=1, description="a whole number, 1 or more")]
Share = Annotated[float, Field(ge=0, le=1, description="a number from 0 to 1")]


class Rules(BaseModel):
    """A table of rules: frozen, without defaults and unknown keys. A field's description names the allowed values.

    Attributes:
        reason: The reason that every key is required. The message about a missing key ends with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    reason: ClassVar[str]


class RuleFile(Rules):
    """The rules of one rule file.

    Attributes:
        label: The name of the rules in messages, such as "gate".
        variable: The environment variable that can name another file.
        packaged: The path of the rule file in this package.
        error: The class of the error to raise.
        version: The version of the rules. Increase it whenever a value changes.
    """

    label: ClassVar[str]
    variable: ClassVar[str]
    packaged: ClassVar[Path]
    error: ClassVar[type[ConfigurationError]]

    version: Whole

    @classmethod
    def load(cls, path: Path | str | None = None) -> Self:
        """Return the rules of a file, or of the packaged file if ``path`` is ``None``.

        Raises:
            ConfigurationError: as ``cls.error``: the file is missing or not TOML, or a key is missing, unknown or out
                of range.
        """
        source = cls.packaged if path is None else Path(path)
        try:
            values = tomllib.loads(source.read_text(encoding="utf-8"))
        except OSError as exc:
            raise cls.error(
                f"The {cls.label} rule file {source} cannot be read: {exc.strerror}. "
                f"Set {cls.variable} to a readable TOML file, or unset it to use the packaged rules."
            ) from exc
        except ValueError as exc:  # not TOML, or not UTF-8
            raise cls.error(
                f"The {cls.label} rule file {source} is not TOML: {exc}. Correct that line of the file."
            ) from exc
        return cls.from_values(values, source=str(source))

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, source: str = "given values") -> Self:
        """Return checked rules from plain values.

        Args:
            values: rules by key, as in a parsed TOML file.
            source: the origin of the values, for messages.

        Raises:
            ConfigurationError: as ``cls.error``: a key is missing, unknown or out of range.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            first = min(exc.errors(), key=lambda each: _ORDER.get(each["type"], len(_ORDER)))
            raise cls.error(_message(cls, first, values, f"{cls.label.capitalize()} rules ({source}): ")) from None


_ORDER = {"extra_forbidden": 0, "missing": 1}
"""Order of errors in reports. A misspelled key is both unknown and missing, and the unknown key needs correction."""


def _message(model: type[Rules], error: ErrorDetails, values: Any, prefix: str) -> str:
    """Return the message for one error of pydantic: what is wrong, what is allowed, what was received and what to do.

    Args:
        model: the table of rules in which the error occurred.
        error: the error of pydantic.
        values: the received values of the table.
        prefix: beginning of the message: rules, source and outer tables.
    """
    key, *rest = error["loc"]
    field = model.model_fields.get(str(key))
    annotation = field.annotation if field is not None else None
    table = annotation if isinstance(annotation, type) and issubclass(annotation, Rules) else None
    if table is not None and rest:
        return _message(table, {**error, "loc": tuple(rest)}, values[key], f"{prefix}{key}.")
    known, where = ", ".join(model.model_fields), prefix.rstrip(".: ")
    if error["type"] == "missing":
        received = ", ".join(values) or "nothing"
        return f"{where}: missing key {key!r}. Required: {known}. Received: {received}. Add it: {model.reason}."
    received = f"Received: {values[key]!r}."
    if field is None:
        return f"{where}: unknown key {key!r}. Allowed: {known}. {received} Remove the key or correct its spelling."
    if table is not None:
        return f"{prefix}{key} must be a table with {' and '.join(table.model_fields)}. {received} Write [{key}]."
    return f"{prefix}{key} must be {field.description}. {received} Correct this line of the file."

"""Check the tables of TOML files with pydantic, and read rule files.

A rule file must state every rule, so that a missing line never loosens a rule.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from braintumor.errors import BrainTumorError, ConfigurationError

Whole = Annotated[int, Field(ge=1, description="a whole number, 1 or more")]
Share = Annotated[float, Field(ge=0, le=1, description="a number from 0 to 1")]


def read_toml(path: Path, *, what: str, remedy: str, error: type[BrainTumorError]) -> dict[str, Any]:
    """Return the values of a TOML file, or raise ``error``.

    The message begins with ``what``, such as "The recipe". ``remedy`` says what to do if the file cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise error(f"{what} {path} cannot be read: {exc.strerror}. {remedy}") from exc
    except ValueError as exc:  # not TOML, or not UTF-8
        raise error(f"{what} {path} is not TOML: {exc}. Correct that line of the file.") from exc


class Table(BaseModel):
    """Define the base class of tables in TOML files. A table is frozen, strict and without unknown keys.

    Error messages state the allowed values of a field with the field's description, or else with pydantic's own text.
    The message about a missing key ends with ``reason``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    reason: ClassVar[str] = "it has no default"

    @classmethod
    def checked(cls, values: Mapping[str, Any], *, where: str, error: type[BrainTumorError]) -> Self:
        """Return a table with these values, or raise ``error`` with a message that begins with ``where``."""
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            first = min(exc.errors(), key=lambda each: _ORDER.get(each["type"], len(_ORDER)))
            raise error(_message(cls, first, values, where)) from None


class RuleFile(Table):
    """Hold the rules of one rule file. Increase the file's ``version`` whenever a value changes.

    Attributes:
        label: the name of the rules in messages, such as "gate".
        variable: the environment variable that can name another file.
        packaged: the path of the rule file that is part of ``braintumor``.
        error: the class of the errors about the file.
    """

    label: ClassVar[str]
    variable: ClassVar[str]
    packaged: ClassVar[Path]
    error: ClassVar[type[ConfigurationError]]

    version: Whole

    @classmethod
    def load(cls, path: Path | str | None = None) -> Self:
        """Return the rules of a file, or of the packaged file.

        Raises:
            ConfigurationError: the file is not readable TOML, or a key is missing, unknown or out of range. The class
                of the error is ``cls.error``.
        """
        source = cls.packaged if path is None else Path(path)
        what = f"The {cls.label} rule file"
        remedy = f"Set {cls.variable} to a readable TOML file, or unset it to use the packaged rules."
        values = read_toml(source, what=what, remedy=remedy, error=cls.error)
        return cls.from_values(values, source=str(source))

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, source: str = "given values") -> Self:
        """Return checked rules from plain values, or raise ``cls.error``. ``source`` names their origin in messages."""
        return cls.checked(values, where=f"{cls.label.capitalize()} rules ({source}): ", error=cls.error)


_ORDER = {"extra_forbidden": 0, "missing": 1}
"""Order of errors in messages.

A misspelled key is unknown, and the right key is missing. The unknown key needs correction, so it comes first.
"""


def _message(model: type[Table], error: ErrorDetails, values: Any, prefix: str) -> str:
    """Return the message for one error of pydantic. ``prefix`` names the source and the outer tables."""
    key, *rest = error["loc"]
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    field = fields.get(str(key))
    table = _table_in(field.annotation) if field is not None else None
    if table is not None and rest:
        inner, name = values[key], str(key)
        if isinstance(rest[0], int):  # of a list of tables
            inner, name, rest = inner[rest[0]], f"{key} {rest[0] + 1}", rest[1:]
        if rest:
            return _message(table, {**error, "loc": tuple(rest)}, inner, f"{prefix}{name}.")
    known, where = ", ".join(fields), prefix.rstrip(".: ")
    if error["type"] == "missing":
        required = ", ".join(name for name, each in fields.items() if each.is_required())
        received = ", ".join(values) or "nothing"
        return f"{where}: missing key {key!r}. Required: {required}. Received: {received}. Add it: {model.reason}."
    is_shown = field.repr if field is not None else not model.model_config.get("hide_input_in_errors")
    received = f"Received: {values[key]!r}." if is_shown else "The received value is not shown."
    if field is None:
        return f"{where}: unknown key {key!r}. Allowed: {known}. {received} Remove the key or correct its spelling."
    if table is not None and not field.description:
        return f"{prefix}{key} must be a table with {', '.join(table.model_fields)}. {received} Write [{key}]."
    allowed = f"be {field.description}" if field.description else error["msg"].removeprefix("Input should ")
    return f"{prefix}{key} must {allowed}. {received} Correct this value."


def _table_in(annotation: Any) -> type[Table] | None:
    """Return the table class of a field's annotation, such as ``FineTuning`` of ``FineTuning | None``."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, Table)]
    return kinds[0] if kinds else None

"""Settings and messages without the secrets in them."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from braintumor.config.settings import Settings, setting_fields
from braintumor.config.variables import Kind, Variable

MASK = "***"
_URL = re.compile(r"(?P<scheme>[a-z0-9+.-]+://)(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_ADDRESS = re.compile(r"(\[[0-9a-f:.]+\]|[\w.,-]*)(:\d+)?(/[^?#@:]*)?")
_SECRET_WORD = re.compile(r"pass|secret|token|key|sig|auth|cred", re.IGNORECASE)
_SHORTEST = 4
"""Shorter secrets are not looked for in messages: they would be found in every other word."""


def masked(variable: Variable, value: str) -> str:
    """The value as it may be shown: of a secret nothing, of a URL what is neither login nor password.

    A secret URL shows user, host and database only where it has the form of one; otherwise nothing.
    """
    if variable.kind is Kind.CONNECTION and not _URL.fullmatch(value):
        return MASK
    if variable.is_secret and variable.kind not in {Kind.URL, Kind.CONNECTION}:
        return MASK
    found = _URL.fullmatch(value)
    if found is None:
        return MASK if variable.is_secret else value
    login, at, rest = found["rest"].rpartition("@")
    place, question, query = rest.partition("?")
    if variable.is_secret and not _ADDRESS.fullmatch(place):
        return MASK
    shown = _login(login, with_user=variable.is_secret) + at + place
    return found["scheme"] + shown + (question + _query(query, hide_all=variable.is_secret) if question else "")


def _login(login: str, *, with_user: bool) -> str:
    """Of Postgres the user is shown; elsewhere what stands before the @ may be a token."""
    if not login:
        return ""
    user, colon, _ = login.partition(":")
    return f"{user}:{MASK}" if colon and with_user and re.fullmatch(r"[\w%.-]+", user) else MASK


def _query(query: str, *, hide_all: bool) -> str:
    parts = []
    for part in query.split("&"):
        name, equals, _ = part.partition("=")
        parts.append(name + equals + MASK if equals and (hide_all or _SECRET_WORD.search(name)) else part)
    return "&".join(parts)


def secrets_of(settings: Settings) -> list[str]:
    """Every secret text of the settings, passwords inside URLs too; longest first."""
    found: set[str] = set()
    for field in setting_fields():
        value: str | None = getattr(settings, field.name)
        if not value:
            continue
        if field.is_secret:
            found.add(value)
        url = _URL.fullmatch(value)
        login, at, _ = url["rest"].rpartition("@") if url else ("", "", "")
        if at:
            password = login.partition(":")[2] or login
            found |= {login, password, unquote(password)}
        if field.kind is Kind.URL:
            found |= _in_query(value)
    return sorted((text for text in found if len(text) >= _SHORTEST), key=len, reverse=True)


def _in_query(url: str) -> set[str]:
    try:
        parts = [part.partition("=") for part in urlsplit(url).query.split("&")]
    except ValueError:
        return set()
    return {value for name, _, value in parts if _SECRET_WORD.search(name)}


def without_secrets(words: str, settings: Settings) -> str:
    """A message with every secret of the settings replaced by ``***``."""
    for secret in secrets_of(settings):
        words = words.replace(secret, MASK)
    return words

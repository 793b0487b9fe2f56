"""Redact secrets in settings and messages."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from braintumor.config.settings import Settings, setting_variables
from braintumor.config.variables import Kind, Variable

MASK = "***"
_URL = re.compile(r"(?P<scheme>[a-z0-9+.-]+://)(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_ADDRESS = re.compile(r"(\[[0-9a-f:.]+\]|[\w.,-]*)(:\d+)?(/[^?#@:]*)?")
_SECRET_WORD = re.compile(r"pass|secret|token|key|sig|auth|cred", re.IGNORECASE)
_SHORTEST = 4
"""Smallest length in characters of a secret that is replaced in messages. Shorter texts occur inside many words."""


def masked(variable: Variable, value: str) -> str:
    """Return the value of a variable for display, with ``***`` in place of secrets.

    In a URL, the login, the password and secret parts of the query are masked. A secret URL, such as that of Postgres,
    shows its user, host and database. Any other secret is masked completely.
    """
    if variable.kind is Kind.CONNECTION and not _URL.fullmatch(value):
        return MASK
    if variable.is_secret and variable.kind not in {Kind.URL, Kind.CONNECTION}:
        return MASK
    url = _URL.fullmatch(value)
    if url is None:
        return MASK if variable.is_secret or (variable.kind is Kind.URL and "@" in value) else value
    login, at, rest = url["rest"].rpartition("@")
    place, question, query = rest.partition("?")
    if variable.is_secret and not _ADDRESS.fullmatch(place):
        return MASK
    shown = _login(login, with_user=variable.is_secret) + at + place
    return url["scheme"] + shown + (question + _query(query, hide_all=variable.is_secret) if question else "")


def endpoint_of(settings: Settings) -> str:
    """Return the URL of the S3 server for display, without its password."""
    return masked(setting_variables()["s3_endpoint"], settings.s3_endpoint) if settings.s3_endpoint else "AWS S3"


def _login(login: str, *, with_user: bool) -> str:
    """Return the login of a URL (the part before the @) with its password masked, or ``***``.

    Only a Postgres URL shows its user, because in other URLs the login can be a token.
    """
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
    """Return every secret text of the settings, including passwords inside URLs, longest first."""
    secrets: set[str] = set()
    for name, variable in setting_variables().items():
        value: str | None = getattr(settings, name)
        if not value:
            continue
        if variable.is_secret:
            secrets.add(value)
        url = _URL.fullmatch(value)
        login, at, _ = url["rest"].rpartition("@") if url else ("", "", "")
        if at:
            password = login.partition(":")[2] or login
            secrets |= {login, password, unquote(password)}
        if variable.kind is Kind.URL:
            secrets |= _in_query(value)
    return sorted((text for text in secrets if len(text) >= _SHORTEST), key=len, reverse=True)


def _in_query(url: str) -> set[str]:
    try:
        parts = [part.partition("=") for part in urlsplit(url).query.split("&")]
    except ValueError:
        return set()
    return {value for name, _, value in parts if _SECRET_WORD.search(name)}


def without_secrets(message: str, settings: Settings) -> str:
    """Return a message with ``***`` in place of every secret of the settings."""
    for secret in secrets_of(settings):
        message = message.replace(secret, MASK)
    return message

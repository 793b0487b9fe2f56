"""Check that prose uses no word that CONTRIBUTING.md rules out: private idioms, and British spellings."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parent.parent
SUFFIXES = {".py", ".sql", ".html", ".js", ".md", ".toml", ".yaml"}
EXCLUDED = {"CHANGELOG.md", "LICENSE", "requirements.lock", "tests/test_plain_english.py"}

IDIOMS = (
    "whom", "whoever", "nobody", "said aloud", "anew", "beside", "mend", "mends", "mended", "goes before", "of before",
    "is none", "lies in", "lie in", "stands in", "is told", "are told",
)  # fmt: skip
BRITISH = (
    "colour", "grey", "artefact", "tumour", "labelled", "neighbour", "behaviour", "modelling", "initialis", "quantis",
    "normalis", "recognis", "organis",
)  # fmt: skip
FORBIDDEN = re.compile(
    rf"(?<![^\W_])(?:{'|'.join(IDIOMS)})(?![^\W_])|(?:{'|'.join(BRITISH)})".replace(" ", r"\s+"), re.IGNORECASE
)
"""Idioms as whole words. British spellings also inside a word, because they occur in inflections and identifiers."""

CASE_SENSITIVE = {"is none"}
"""``is None`` is Python."""
ALLOWED = {"tests/config/test_reference.py": {"tumour"}, "tests/dataset/images/test_folder_layout.py": {"tumour"}}
"""A misspelled variable and a misspelled folder are test data there."""
JINJA = re.compile(r"{[%{].*?[%}]}", re.DOTALL)
"""Code in templates: ``is none`` is a test of Jinja."""


def tracked_files() -> list[Path]:
    if (PROJECT / ".git").exists():
        listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
        paths = [PROJECT / name for name in listed.splitlines()]
    else:  # an archive of the sources; folders that begin with a dot, such as .venv, are not the project's
        tops = [path for path in PROJECT.iterdir() if not path.name.startswith(".")]
        paths = [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top])]
    paths = [path for path in paths if str(path.relative_to(PROJECT)) not in EXCLUDED]
    return [path for path in paths if (path.suffix in SUFFIXES or path.name == "Makefile") and path.is_file()]


def violations(name: str, text: str) -> list[str]:
    """Return ``file:line: word`` for each forbidden word."""
    result = []
    if name.endswith(".html"):
        text = JINJA.sub(lambda code: "\n" * code.group().count("\n"), text)
    for match in FORBIDDEN.finditer(text):
        word = " ".join(match.group().split())
        if word.lower() in CASE_SENSITIVE and word != word.lower():
            continue
        if word.lower() not in ALLOWED.get(name, set()):
            result.append(f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {word}")
    return result


def test_tracked_prose_contains_no_forbidden_word() -> None:
    paths = tracked_files()
    assert len(paths) > 100
    result = [line for path in paths for line in violations(str(path.relative_to(PROJECT)), path.read_text())]
    assert not result, "\n".join(result)


def test_word_check_names_file_line_and_word() -> None:
    assert violations("a.md", "fine\ntell Nobody\n") == ["a.md:2: Nobody"]
    assert violations("a.md", "it lies\nin S3, labelled") == ["a.md:1: lies in", "a.md:2: labelled"]
    assert violations("a.py", "x is None, recommended, besides, TUMOURS") == ["a.py:1: TUMOUR"]
    assert violations("tests/config/test_reference.py", "BRAINTUMOUR_BACKEND") == []

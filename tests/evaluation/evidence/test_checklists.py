"""Tests of the map from checklist items to the evidence."""

from __future__ import annotations

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.evaluation.evidence.build import build_evidence
from braintumor.evaluation.evidence.checklists import checklists, filled
from braintumor.evaluation.evidence.content import not_assessed
from braintumor.registry.model_versions import find_model

TRIPOD = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 18a 18b 18c "
    "18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)
PCCP = "P1 P2 P3 P4 P5 S1 S2a S2b S2c S2d S3"


@pytest.mark.parametrize(
    ("key", "ids"),
    [("tripod_ai", TRIPOD.split()), ("claim", [str(number) for number in range(1, 45)]), ("pccp", PCCP.split())],
)
def test_checklist_has_every_item_of_its_source(key: str, ids: list[str]) -> None:
    (checklist,) = [each for each in checklists() if each.key == key]
    assert [item.id for item in checklist.items] == ids


def test_each_item_has_keys_or_what_to_add() -> None:
    for checklist in checklists():
        for item in checklist.items:
            assert item.title and (item.keys or item.add), (checklist.key, item.id)


def test_each_key_is_a_block_of_the_evidence(recorded: Settings) -> None:
    engine = database.connect(recorded)
    evidence = build_evidence(engine, find_model(engine, "fresh"))
    engine.dispose()
    blocks = {f"{section}.{block}" for section, blocks in evidence.items() for block in blocks}
    used = {key for checklist in checklists() for item in checklist.items for key in item.keys}
    assert used <= blocks
    assert (
        blocks - used - {"report.about", "gate.verdicts", *(f"checklists.{each.key}" for each in checklists())} == set()
    )


def test_state_depends_on_what_is_assessed_and_to_add() -> None:
    sections = {key.partition(".")[0] for checklist in checklists() for item in checklist.items for key in item.keys}
    keys = [key for checklist in checklists() for item in checklist.items for key in item.keys]
    evidence = {name: {key.partition(".")[2]: "x" for key in keys if key.startswith(f"{name}.")} for name in sections}
    evidence["test"]["overall"] = not_assessed("no images")
    evidence["gate"]["verdict"] = not_assessed("never judged")
    rows = {row["item"]: row for row in filled(evidence)["claim"]}
    assert {rows[item]["state"] for item in ("9", "23")} == {"filled"}
    assert (rows["2"]["state"], rows["7"]["state"]) == ("not filled", "partly filled")
    assert (rows["32"]["state"], rows["28"]["state"]) == ("partly filled", "partly filled")
    assert rows["6"]["state"] == "not assessed"
    assert rows["6"]["note"].startswith("gate.verdict is not assessed: never judged. State the goal")

"""Write the evidence report of a model: a page and a JSON file, in S3 next to the model or in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Engine

from braintumor.evaluation.evidence.build import build_evidence
from braintumor.evaluation.evidence.page import evidence_json, evidence_page
from braintumor.registry.model_versions import ModelVersion
from braintumor.reports.paths import EVIDENCE, EVIDENCE_JSON, publish_page
from braintumor.s3 import ObjectStore, S3Uri


@dataclass(frozen=True, kw_only=True)
class EvidenceReport:
    """Hold both forms of an evidence report. ``json_sha256`` is the hex sha256 of the JSON file."""

    page: str
    json: str
    json_sha256: str

    def write(self, folder: Path) -> list[str]:
        """Write both files to a folder, which is created if it does not exist, and return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {folder / EVIDENCE: self.page, folder / EVIDENCE_JSON: self.json}
        for path, content in files.items():
            path.write_text(content, encoding="utf-8")
        return [str(path) for path in files]


def evidence_report(engine: Engine, model: ModelVersion, *, site_use: str = "") -> EvidenceReport:
    """Return the evidence report of a model. ``site_use`` is the site's text about its intended use."""
    evidence = build_evidence(engine, model, site_use=site_use)
    text = evidence_json(evidence)
    digest = sha256(text.encode()).hexdigest()
    page = evidence_page(evidence, json_name=EVIDENCE_JSON, json_sha256=digest)
    return EvidenceReport(page=page, json=text, json_sha256=digest)


def publish_evidence(engine: Engine, store: ObjectStore, model: ModelVersion, report: EvidenceReport) -> list[str]:
    """Write both files to S3 next to the model, and return their addresses. They replace earlier ones."""
    folder = S3Uri.parse(model.artifact_uri)
    store.write(folder / EVIDENCE_JSON, report.json.encode(), content_type="application/json")
    publish_page(engine, store, folder / EVIDENCE, report.page)
    return [str(folder / EVIDENCE), str(folder / EVIDENCE_JSON)]

"""Define what the gate remembers of a test split: the reference model and the numbers of judged candidates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SplitMemory:
    """Hold what the gate remembers of a test split at the time of one verdict.

    Attributes:
        count_judged: number of candidates that the gate has judged on this split, including the present one.
        count_year: number of candidates judged on this split in the last 365 days.
        reference: name of the reference model. ``None`` if the candidate was not compared with it.
        champion_optimism: upper limit of the amount by which repeated use of the split inflates the champion's
            accuracy. ``None`` if there is no estimate.
        not_assessed: name of each missing comparison or estimate, with the reason.
    """

    count_judged: int
    count_year: int
    reference: str | None = None
    champion_optimism: float | None = None
    not_assessed: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return the content as sentences for people, one per fact."""
        candidates = "1 candidate" if self.count_judged == 1 else f"{self.count_judged} candidates"
        facts = [f"The gate has judged {candidates} on this test split, {self.count_year} in the last 365 days."]
        if self.reference is not None:
            facts.append(f"The reference model is {self.reference}.")
        if self.champion_optimism is not None:
            facts.append(
                f"Repeated use of the split makes the champion's accuracy look up to {self.champion_optimism:.3f} too "
                "high (bootstrap, best of these models)."
            )
        return (*facts, *(f"Not assessed: {words}." for words in self.not_assessed))

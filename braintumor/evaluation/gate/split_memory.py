"""Define what the gate remembers of a test split: its reference model and the candidates that it has judged."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SplitMemory:
    """Hold the memory of a test split at the time of one verdict.

    Attributes:
        count_judged: number of candidates that the gate has judged on this split, with the present one.
        count_year: number of these candidates in the last 365 days.
        reference: name of the reference model. ``None`` if the comparison with it is not assessed.
        champion_optimism: largest expected excess of the champion's accuracy because of the repeated use of the split.
            ``None`` if it is not assessed.
        not_assessed: figures that are not assessed, each with its reason.
    """

    count_judged: int
    count_year: int
    reference: str | None = None
    champion_optimism: float | None = None
    not_assessed: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return one sentence per fact, for people."""
        candidates = "1 candidate" if self.count_judged == 1 else f"{self.count_judged} candidates"
        facts = [f"This test split has judged {candidates}, {self.count_year} in the last 365 days."]
        if self.reference is not None:
            facts.append(f"The reference model is {self.reference}.")
        if self.champion_optimism is not None:
            facts.append(
                f"Repeated use of the split makes the champion's accuracy look up to {self.champion_optimism:.3f} too "
                "high (bootstrap, best of these models)."
            )
        return (*facts, *(f"Not assessed: {words}." for words in self.not_assessed))

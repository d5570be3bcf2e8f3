"""What a benchmark says."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Answer:
    """One measured number beside its target.

    `target` is for people, as in "<= 1.20 x" or "<= 60 s"; `measured` has the same unit. `detail`
    tells the numbers behind it.
    """

    question: str
    measured: float
    target: str
    meets: bool
    detail: str = ""

    def to_json(self) -> str:
        """One line."""
        return json.dumps({**asdict(self), "measured": float(f"{self.measured:.4g}")})

    def __str__(self) -> str:
        verdict = "meets" if self.meets else "MISSES"
        text = f"{self.measured:10.4g}  {self.target:>12}  {verdict:6}  {self.question}"
        return f"{text}\n{'':34}{self.detail}" if self.detail else text


def at_most(question: str, measured: float, limit: float, unit: str, detail: str = "") -> Answer:
    """Whether `measured` stays within `limit`."""
    return Answer(question, measured, f"<= {limit:g} {unit}", measured <= limit, detail)


def at_least(question: str, measured: float, limit: float, unit: str, detail: str = "") -> Answer:
    """Whether `measured` reaches `limit`."""
    return Answer(question, measured, f">= {limit:g} {unit}", measured >= limit, detail)

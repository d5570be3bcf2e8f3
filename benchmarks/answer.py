"""What a benchmark says."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Answer:
    """One measured value beside its target.

    `measured` is a number in `unit`, yes or no, or None where there is nothing to measure. `target`
    is for people, as in "<= 1.20 x" or "<= 60 s", and empty where there is none. `detail` holds the
    numbers behind it.
    """

    question: str
    measured: float | bool | None
    target: str = ""
    meets: bool = True
    detail: str = ""
    unit: str = ""

    def to_json(self) -> str:
        """Return one line."""
        plain = self.measured is None or isinstance(self.measured, bool)
        measured = self.measured if plain else float(f"{self.measured:.4g}")
        return json.dumps({**asdict(self), "measured": measured})

    def __str__(self) -> str:
        match self.measured:
            case None:
                shown = "-"
            case bool():
                shown = "yes" if self.measured else "no"
            case _:
                shown = f"{self.measured:.4g} {self.unit}".strip()
        verdict = "MISSES" if not self.meets else "meets" if self.target else ""
        text = f"{shown:>14}  {self.target or '-':>14}  {verdict:7}  {self.question}"
        return f"{text}\n{'':41}{self.detail}" if self.detail else text


HEADING = f"{'measured':>14}  {'target':>14}  {'':7}  question"


def at_most(question: str, measured: float, limit: float, unit: str, detail: str = "") -> Answer:
    """Return whether `measured` stays within `limit`."""
    target = f"<= {limit:g} {unit}".strip()
    return Answer(question, measured, target, measured <= limit, detail, unit)


def at_least(question: str, measured: float, limit: float, unit: str, detail: str = "") -> Answer:
    """Return whether `measured` reaches `limit`."""
    target = f">= {limit:g} {unit}".strip()
    return Answer(question, measured, target, measured >= limit, detail, unit)


def holds(question: str, answer: bool, detail: str = "") -> Answer:
    """Return the answer to a question that has to be answered with yes."""
    return Answer(question, answer, "yes", answer, detail)

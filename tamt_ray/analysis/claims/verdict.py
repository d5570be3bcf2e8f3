"""From effects to a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import copysign
from typing import Literal

from tamt_ray.analysis.stats.effect import ALPHA, Design, Effect, effect, holm

Verdict = Literal["supported", "contradicted", "does not hold here", "not decidable"]
"""“Does not hold here”: what would contradict the statement, on a model that it is not about."""
MARGIN, WIDER = 1.0, 2.0
"""Points within which two scores count as equal; the wider margin is only reported."""
_MANY = 8
"""Effects above which only the smallest is shown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on a statement and its numbers."""

    verdict: Verdict
    value: str = ""
    """The statistic, ready to print."""
    why: str = ""
    """Reason for which it is not decidable, or an open point of the verdict."""

    @property
    def tested(self) -> bool:
        """True where there is a verdict, or an interval that leaves it open."""
        return self.verdict != "not decidable" or "[" in self.value


def undecidable(why: str) -> Finding:
    """Not decidable, for want of data."""
    return Finding("not decidable", "", why)


def everywhere(
    effects: Mapping[str, Effect | None], lacking: Sequence[str] = (), digits: int = 1
) -> Finding:
    """Return a statement that all effects are above 0.

    Supported where every 95 % interval lies above 0: a claim about all places at once needs no
    correction. Contradicted where an effect is below 0 with p < 0.05 after Holm's correction over
    the places, since any of them may do it. `lacking`: places that the sweep does not have.
    """
    if not effects:
        return undecidable(f"no scores at {', '.join(lacking)}" if lacking else "no data")
    value = _listed(effects, digits)
    if against := _significant(effects, -1):
        return Finding("contradicted", value, f"below 0: {_places(against, effects)}")
    if unknown := _unknown(effects):
        return Finding("not decidable", value, unknown)
    if open_ := [place for place, found in effects.items() if not (found and found.positive)]:
        return Finding("not decidable", value, f"the interval holds 0: {_places(open_, effects)}")
    return Finding("supported", value, f"not tested: {', '.join(lacking)}" if lacking else "")


def somewhere(effects: Mapping[str, Effect | None]) -> Finding:
    """Return a statement that one of the effects is above 0.

    Supported where one is, with p < 0.05 after Holm's correction over the places. Contradicted
    where every 95 % interval lies below 0.
    """
    if not effects:
        return undecidable("no data")
    value = _listed(effects, 1)
    if found := _significant(effects, +1):
        return Finding("supported", value, f"above 0: {_places(found, effects)}")
    if all(e and e.high is not None and e.high < 0 for e in effects.values()):
        return Finding("contradicted", value)
    return Finding("not decidable", value, _unknown(effects) or "above 0 nowhere beyond doubt")


def equivalent(tables: Mapping[str, Design], lacking: Sequence[str] = ()) -> Finding:
    """Return a statement that all differences of scores are small.

    Supported where every 95 % interval lies within ±1 point. Contradicted where a difference is
    larger than 1 point with p < 0.05 after Holm's correction. Equivalence within ±2 points is no
    verdict but is said.
    """
    if not tables:
        return undecidable(f"no scores at {', '.join(lacking)}" if lacking else "no data")
    effects = {place: effect(table) for place, table in tables.items()}
    value = _listed(effects, largest=True)
    corrected = holm([_beyond(table, MARGIN) for table in tables.values()])
    places = zip(tables, corrected, strict=True)
    if against := [place for place, p in places if p is not None and p < ALPHA]:
        words = f"beyond ±{MARGIN:g} point: {_places(against, effects)}"
        return Finding("contradicted", value, words)
    if unknown := _unknown(effects):
        return Finding("not decidable", value, unknown)
    known = [found for found in effects.values() if found]
    reach = max(abs(end) for e in known for end in (e.low, e.high) if end is not None)
    if reach <= MARGIN:
        return Finding("supported", value, f"not tested: {', '.join(lacking)}" if lacking else "")
    within_wider = f"within ±{WIDER:g} points, not within ±{MARGIN:g}"
    beyond = f"an interval reaches beyond ±{WIDER:g} points"
    return Finding("not decidable", value, within_wider if reach <= WIDER else beyond)


def within(found: Effect | None, low: float, high: float) -> Finding:
    """Return a statement that a mean lies between `low` and `high`.

    Supported where its 95 % interval lies inside, contradicted where it lies wholly outside.
    """
    if found is None:
        return undecidable("no complete data")
    value = shown(found, "", 2, sign=False)
    if found.low is None or found.high is None:
        return Finding("not decidable", value, f"no interval: {found.reason}")
    if low <= found.low and found.high <= high:
        return Finding("supported", value)
    if found.high < low or found.low > high:
        return Finding("contradicted", value)
    return Finding("not decidable", value, "the interval lies neither inside nor outside")


def shown(found: Effect | None, place: str, digits: int = 1, *, sign: bool = True) -> str:
    """`70 %: +1.2 [0.4, 2.0]`."""
    before = f"{place}: " if place else ""
    if found is None:
        return f"{before}missing"
    plus = "+" if sign else ""
    text = f"{found.value:{plus}.{digits}f}"
    if found.low is not None:
        text += f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return before + text.replace("-", "\N{MINUS SIGN}")


def times(ratio: float | str) -> str:
    """Return a ratio in words, with two decimals below 1."""
    value = float(ratio)
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _listed(effects: Mapping[str, Effect | None], digits: int = 1, *, largest: bool = False) -> str:
    """Return all effects; of many the least one, or the one that is `largest` in size."""
    known = {place: found for place, found in effects.items() if found}
    if len(effects) <= _MANY or not known:
        return "; ".join(shown(effects[place], place, digits) for place in effects)
    if largest:
        chosen, words = max(known, key=lambda place: abs(known[place].value)), "largest"
    else:
        chosen, words = min(known, key=lambda place: known[place].value), "least"
    return f"{words} of {len(effects)}: {shown(known[chosen], chosen, digits)}"


def _significant(effects: Mapping[str, Effect | None], sign: int) -> list[str]:
    """Places whose effect has this sign with p < 0.05 after Holm's correction."""
    corrected = holm([found.p if found else None for found in effects.values()])
    return [
        place
        for (place, found), p in zip(effects.items(), corrected, strict=True)
        if found and found.value * sign > 0 and p is not None and p < ALPHA
    ]


def _unknown(effects: Mapping[str, Effect | None]) -> str:
    """Return the places without an interval and the reasons; empty where all have one."""
    reasons: dict[str, list[str]] = {}
    for place, found in effects.items():
        if found is None or found.low is None:
            reasons.setdefault(found.reason if found else "no complete runs", []).append(place)
    return "; ".join(f"{why}: {_places(places, effects)}" for why, places in reasons.items())


def _places(places: Sequence[str], effects: Mapping[str, Effect | None]) -> str:
    if len(places) > _MANY:
        return f"{len(places)} of {len(effects)}"
    return "everywhere" if 1 < len(places) == len(effects) else ", ".join(places)


def _beyond(table: Design, margin: float) -> float | None:
    """p of the hypothesis that the mean lies within ±`margin`; 1 where the estimate does."""
    found = effect(table)
    if found is None or found.low is None:
        return None
    if abs(found.value) <= margin:
        return 1.0
    moved = effect(table._replace(values=table.values - copysign(margin, found.value)))
    return moved.p if moved else None

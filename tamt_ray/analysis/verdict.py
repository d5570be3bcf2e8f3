"""From effects to a verdict: supported, contradicted, or not decidable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tamt_ray.analysis.effect import Effect, holm

Verdict = Literal["supported", "contradicted", "not decidable"]
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """What the data say about a statement."""

    verdict: Verdict
    value: str = ""
    """The statistic, ready to print."""
    why: str = ""
    """Why it is not decidable, or what the verdict leaves open."""


def undecidable(why: str) -> Finding:
    """Not decidable, for want of data."""
    return Finding("not decidable", "", why)


def everywhere(
    effects: Mapping[str, Effect | None],
    unit: str = "",
    lacking: Sequence[str] = (),
    digits: int = 1,
) -> Finding:
    """A statement that all effects are above 0.

    Supported where every 95 % interval lies above 0: a claim about all places at once needs no
    correction. Contradicted where an effect is below 0 with p < 0.05 after Holm's correction over
    the places, since any of them may do it. `lacking`: places that the sweep does not have.
    """
    if not effects:
        return undecidable(f"no scores at {', '.join(lacking)}" if lacking else "no data")
    value = "; ".join(shown(effects[place], place, unit, digits) for place in effects)
    corrected = holm([e.p if e else None for e in effects.values()])
    against = [
        place
        for (place, found), p in zip(effects.items(), corrected, strict=True)
        if found and found.value < 0 and p is not None and p < ALPHA
    ]
    if against:
        return Finding("contradicted", value, f"below 0 at {', '.join(against)}")
    single = [place for place, found in effects.items() if found is None or found.p is None]
    open_ = [
        place for place, e in effects.items() if place not in single and not (e and e.positive)
    ]
    if single:
        why = f"fewer than two complete runs, or all the same: {', '.join(single)}"
        return Finding("not decidable", value, why)
    if open_:
        return Finding("not decidable", value, f"the interval holds 0: {', '.join(open_)}")
    return Finding("supported", value, f"not tested: {', '.join(lacking)}" if lacking else "")


def within(found: Effect | None, low: float, high: float, digits: int = 2) -> Finding:
    """A statement that a mean lies between `low` and `high`.

    Supported where its 95 % interval lies inside, contradicted where it lies wholly outside.
    """
    if found is None:
        return undecidable("no complete data")
    value = shown(found, "", "", digits, sign=False)
    if found.low is None or found.high is None:
        return Finding("not decidable", value, "a single value has no interval")
    if low <= found.low and found.high <= high:
        return Finding("supported", value)
    if found.high < low or found.low > high:
        return Finding("contradicted", value)
    return Finding("not decidable", value, "the interval lies neither inside nor outside")


def shown(
    found: Effect | None, place: str, unit: str = "", digits: int = 1, *, sign: bool = True
) -> str:
    """`70 %: +1.2 [0.4, 2.0]`."""
    before = f"{place}: " if place else ""
    if found is None:
        return f"{before}missing"
    plus = "+" if sign else ""
    text = f"{before}{found.value:{plus}.{digits}f}"
    if found.low is not None:
        text += f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return f"{text}{unit}".replace("-", "\N{MINUS SIGN}")


def percent(sparsity: float) -> str:
    """A sparsity as a place."""
    return f"{sparsity * 100:.4g}\N{NO-BREAK SPACE}%"


def times(ratio: float | str) -> str:
    """A ratio, with two decimals below 1."""
    value = float(ratio)
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"

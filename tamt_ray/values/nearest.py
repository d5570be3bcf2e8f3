"""Spelling suggestions."""

import difflib
from collections.abc import Collection


def nearest(given: str, known: Collection[str]) -> str:
    """Return the end of a message about a wrong word: the closest valid word, else all of them."""
    if close := difflib.get_close_matches(given, known, n=1, cutoff=0.5):
        return f"; did you mean `{close[0]}`?"
    return f"; valid are: {', '.join(known)}" if known else ""

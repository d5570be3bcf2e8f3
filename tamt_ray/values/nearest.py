"""What somebody may have meant."""

import difflib
from collections.abc import Collection


def nearest(given: str, known: Collection[str]) -> str:
    """The end of a message about a wrong word: the word closest to it, else all there are."""
    if close := difflib.get_close_matches(given, known, n=1, cutoff=0.5):
        return f"; did you mean `{close[0]}`?"
    return f"; valid are: {', '.join(known)}" if known else ""

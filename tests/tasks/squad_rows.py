"""Toy questions in the columns of SQuAD."""

import random

LETTERS = "abcdefghijklmnopqrst"


def squad_rows(count: int, seed: int) -> list[dict[str, object]]:
    """Return rows whose answer is `good bad` in a passage of 20 to 60 words."""
    draw = random.Random(seed)
    found: list[dict[str, object]] = []
    for number in range(count):
        words = ["".join(draw.choices(LETTERS, k=draw.randint(1, 3))) for _ in range(60)]
        words = words[: draw.randint(20, 60)]
        place = draw.randrange(1, len(words) - 2)
        words[place : place + 2] = ["good", "bad"]
        start = len(" ".join(words[:place])) + 1
        found.append(
            {
                "id": str(number), "question": "a b", "context": " ".join(words),
                "answers": {"text": ["good bad"], "answer_start": [start]},
            }
        )  # fmt: skip
    return found

"""Questions on passages, and rows that hold none. Imports no Torch."""

from dataclasses import dataclass

from tamt_ray.data.table import Rows, column


@dataclass(frozen=True)
class Question:
    """A question whose answer is a part of its context."""

    id: str
    text: str
    context: str
    answers: tuple[str, ...]
    """The gold answers, at least one; the first one is learned."""
    answer_start: int
    """The character of the context where the first one begins."""


def questions(rows: Rows) -> list[Question]:
    """Return one question per row. Raises ValueError naming the first row without usable answer."""
    columns = [column(rows, name) for name in ("id", "question", "context", "answers")]
    found = [_question(*values) for values in zip(*columns, strict=True)]
    if not found:
        raise ValueError("there is no question to learn from or to evaluate on")
    return found


def _question(id: object, text: object, context: object, answers: object) -> Question:
    match answers:
        case {"text": [str(), *_] as golds, "answer_start": [int(start), *_]}:
            pass
        case _:
            raise ValueError(
                f"question {id}: {answers!r} holds no answer; SQuAD v1.1 has one for each question"
            )
    if not isinstance(text, str) or not isinstance(context, str):
        raise ValueError(f"question {id}: the question or its context is not text")
    if not all(isinstance(gold, str) for gold in golds):
        raise ValueError(f"question {id}: one of its answers is not text")
    # Python counts a negative start from the end.
    if start < 0 or not golds[0] or not context.startswith(golds[0], start):
        raise ValueError(f"question {id}: the answer {golds[0]!r} is not at {start} of its context")
    return Question(str(id), text, context, tuple(map(str, golds)), start)


def check_questions(_task: object, rows: Rows) -> None:
    """Raise ValueError for a row without usable answer."""
    questions(rows)

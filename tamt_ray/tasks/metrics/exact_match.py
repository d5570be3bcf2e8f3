"""Exact matches of answers, as SQuAD v1.1 scores them."""

from typing import ClassVar

from tamt_ray.tasks.metrics.base import Answers, Metric, Predictions


class ExactMatch(Metric):
    """Share of the answers that equal a gold one, both normalised."""

    name: ClassVar[str] = "exact_match"
    answers: ClassVar[Answers] = "texts"
    always: ClassVar[bool] = True

    @staticmethod
    def compute(predictions: Predictions) -> float:
        """Average over the questions."""
        import numpy as np

        from tamt_ray.tasks.features.spans import exact_match

        pairs = zip(predictions.predicted, predictions.gold, strict=True)
        found = [exact_match(str(answer), [str(gold) for gold in golds]) for answer, golds in pairs]
        return float(np.mean(found))

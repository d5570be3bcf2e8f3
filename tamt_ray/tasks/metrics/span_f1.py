"""Word overlap of answers, as SQuAD v1.1 scores it."""

from typing import ClassVar

from tamt_ray.tasks.metrics.base import Answers, Metric, Predictions


class SpanF1(Metric):
    """Mean F1 of the words of predicted and gold answers."""

    name: ClassVar[str] = "f1"
    answers: ClassVar[Answers] = "texts"
    always: ClassVar[bool] = True

    @staticmethod
    def compute(predictions: Predictions) -> float:
        """Average over the questions."""
        from tamt_ray.tasks.features.spans import f1

        return float(predictions.each(f1).mean())

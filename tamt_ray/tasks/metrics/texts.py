"""Metrics of extracted answers, as SQuAD v1.1 scores them."""

from typing import ClassVar

from tamt_ray.tasks.metrics.base import Answers, Metric, Predictions


class ExactMatch(Metric):
    """Share of the answers that equal a gold one, both normalised."""

    name: ClassVar[str] = "exact_match"
    answers: ClassVar[Answers] = "texts"

    @staticmethod
    def compute(predictions: Predictions) -> float:
        from tamt_ray.tasks.features.spans import exact_match

        return float(predictions.each(exact_match).mean())


class SpanF1(Metric):
    """Mean F1 of the words of predicted and gold answers."""

    name: ClassVar[str] = "f1"
    answers: ClassVar[Answers] = "texts"

    @staticmethod
    def compute(predictions: Predictions) -> float:
        from tamt_ray.tasks.features.spans import f1

        return float(predictions.each(f1).mean())

"""Accuracy of classes."""

from typing import ClassVar

from tamt_ray.tasks.metrics.base import Answers, Metric, Predictions


class Accuracy(Metric):
    """Share of the predictions that are right."""

    name: ClassVar[str] = "accuracy"
    answers: ClassVar[Answers] = "classes"
    always: ClassVar[bool] = True

    @staticmethod
    def compute(predictions: Predictions) -> float:
        """Count the predictions that equal the gold class."""
        from sklearn.metrics import accuracy_score

        return float(accuracy_score(predictions.gold, predictions.predicted))

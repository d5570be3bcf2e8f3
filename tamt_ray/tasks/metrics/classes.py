"""Metrics of classes, as the GLUE benchmark has them."""

from typing import ClassVar

from tamt_ray.tasks.metrics.base import Answers, Metric, Predictions


class Accuracy(Metric):
    """Share of the predictions that are right."""

    name: ClassVar[str] = "accuracy"
    answers: ClassVar[Answers] = "classes"

    @staticmethod
    def compute(predictions: Predictions) -> float:
        from sklearn.metrics import accuracy_score

        return float(accuracy_score(predictions.gold, predictions.predicted))


class F1(Metric):
    """F1 of class 1, or the unweighted mean over the classes where there are more than two."""

    name: ClassVar[str] = "f1"
    answers: ClassVar[Answers] = "classes"

    @staticmethod
    def compute(predictions: Predictions) -> float:
        """Return the harmonic mean of precision and recall; 0 where both are 0."""
        from sklearn.metrics import f1_score

        several = predictions.classes > 2
        return float(
            f1_score(
                predictions.gold,
                predictions.predicted,
                labels=list(range(predictions.classes)) if several else None,
                average="macro" if several else "binary",
                zero_division=0.0,  # pyright: ignore[reportArgumentType]
            )
        )


class Matthews(Metric):
    """Matthews correlation coefficient; 0 where either side is constant, as in the GLUE tools."""

    name: ClassVar[str] = "matthews"
    answers: ClassVar[Answers] = "classes"

    @staticmethod
    def compute(predictions: Predictions) -> float:
        import numpy as np
        from sklearn.metrics import matthews_corrcoef

        gold, predicted = predictions.gold, predictions.predicted
        if len(np.unique(gold)) < 2 or len(np.unique(predicted)) < 2:
            return 0.0
        return float(matthews_corrcoef(gold, predicted))

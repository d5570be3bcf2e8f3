"""F1 of classes, as the GLUE benchmark has it."""

from typing import ClassVar

from tamt_ray.tasks.metrics.base import Answers, Metric, Predictions


class F1(Metric):
    """F1 of class 1, or the unweighted mean over the classes where there are more than two."""

    name: ClassVar[str] = "f1"
    answers: ClassVar[Answers] = "classes"
    always: ClassVar[bool] = True

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

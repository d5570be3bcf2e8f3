"""Matthews correlation of classes."""

from typing import ClassVar

from tamt_ray.tasks.metrics.base import Answers, Metric, Predictions


class Matthews(Metric):
    """Matthews correlation coefficient; 0 where either side is constant, as in the GLUE tools."""

    name: ClassVar[str] = "matthews"
    answers: ClassVar[Answers] = "classes"
    always: ClassVar[bool] = True

    @staticmethod
    def compute(predictions: Predictions) -> float:
        """Correlate predicted and gold classes."""
        import numpy as np
        from sklearn.metrics import matthews_corrcoef

        gold, predicted = predictions.gold, predictions.predicted
        if len(np.unique(gold)) < 2 or len(np.unique(predicted)) < 2:
            return 0.0
        return float(matthews_corrcoef(gold, predicted))

"""Metrics of classifications and regressions, as the GLUE benchmark defines them."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

Numbers = NDArray[np.float32]


def class_metrics(
    gold: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> dict[str, float]:
    """accuracy, f1 and matthews of classes [n].

    F1 is that of class 1, or the unweighted mean over the classes where there are more than two.
    Constant predictions have a Matthews coefficient of 0, as in the GLUE tools.
    """
    constant = len(np.unique(gold)) < 2 or len(np.unique(predicted)) < 2
    return {
        "accuracy": float(accuracy_score(gold, predicted)),
        "f1": float(
            f1_score(
                gold,
                predicted,
                labels=list(range(classes)) if classes > 2 else None,
                average="macro" if classes > 2 else "binary",
                zero_division=0.0,  # pyright: ignore[reportArgumentType]
            )
        ),
        "matthews": 0.0 if constant else float(matthews_corrcoef(gold, predicted)),
    }


def number_metrics(gold: Numbers, predicted: Numbers) -> dict[str, float]:
    """pearson and spearman of numbers [n]; both 0 where either side is constant."""
    if np.ptp(gold) == 0 or np.ptp(predicted) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    # In single precision the correlation of close predictions is lost to rounding.
    wide = gold.astype(np.float64), predicted.astype(np.float64)
    pearson: float = stats.pearsonr(*wide).statistic  # pyright: ignore[reportAttributeAccessIssue]
    spearman: float = stats.spearmanr(*wide).statistic  # pyright: ignore[reportAttributeAccessIssue]
    return {"pearson": float(pearson), "spearman": float(spearman)}

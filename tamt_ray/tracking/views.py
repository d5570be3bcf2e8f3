"""Saved views of an experiment, which MLflow's UI opens by a link.

MLflow keeps a view as a tag of the experiment: JSON with a name and the state of the page, which is
deflated and in base64, as its own "Save view" writes it.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from tamt_ray.plan.expand import Plan
from tamt_ray.tracking.desired import CHARTED, OVER_SPARSITY, at_sparsity

METHODS_VIEW = "tamt-methods"
"""The view that compares the methods."""
_PREFIX = "mlflow.sharedViewState."
_MADE = 1_700_000_000_000
"""Milliseconds since the epoch; fixed, so that the same plan gives the same views."""
_FOLDED = ("pretrain", "score", "search", CHARTED, "Model metrics", "System metrics")
"""Sections of charts that MLflow makes by itself."""


def view_tags(plan: Plan) -> dict[str, str]:
    """Return the tags of the experiment that hold its saved views."""
    compared = [plan.units[unit_id].cell for unit_id in plan.masks]
    sparsities = sorted({cell.sparsity for cell in compared if cell.checkpoint is None})
    models = {unit.cell.model for unit in plan.units.values()}
    keys = ["method", *(["model.name"] if len(models) > 1 else [])]
    tasks = dict.fromkeys(unit.cell.task for unit in plan.units.values() if unit.kind == "finetune")
    charts = [_bar(at_sparsity(sparsity)) for sparsity in sparsities]
    if len(sparsities) > 1:
        charts.append(_line(OVER_SPARSITY))
    # Bars stand in the order of the groups: that of the sparsity where methods differ most.
    hardest = at_sparsity(sparsities[-1]) if sparsities else "score/average"
    columns = ["score/average", *(f"score/{task}" for task in tasks), "pretrain/mlm_loss",
               "pretrain/kd_loss"]  # fmt: skip
    subnetworks = "tags.`tamt.role` = 'compared'"
    by_score = {"orderByKey": "metrics.`score/average`", "orderByAsc": False}
    views: dict[str, tuple[str, dict[str, Any]]] = {
        METHODS_VIEW: (
            "1 Which method wins",
            {
                "searchFilter": subnetworks, "runListHidden": True, "orderByAsc": False,
                "orderByKey": f"metrics.`{hardest}`",
                "groupBy": {
                    "aggregateFunction": "average",
                    "groupByKeys": [{"mode": "param", "groupByData": key} for key in keys],
                },
                **_sections("Average score by method", charts),
            },
        ),
        "tamt-scores": (
            "2 Scores of every subnetwork",
            {
                "searchFilter": subnetworks, **by_score,
                "selectedColumns": [f"metrics.`{name}`" for name in columns],
                "columnOrder": [f"metrics.`{name}`" for name in columns],
            },
        ),
        "tamt-running": (
            "3 Running now",
            {
                "searchFilter": "attributes.status = 'RUNNING' and tags.`tamt.kind` != 'summary'",
                **_sections("Losses", [_line("search/loss"), _line("finetune/loss")]),
            },
        ),
    }  # fmt: skip
    return {f"{_PREFIX}{key}": _tag(name, state) for key, (name, state) in views.items()}


def _tag(name: str, state: Mapping[str, Any]) -> str:
    whole = {
        "orderByKey": "attributes.start_time", "orderByAsc": False, "startTime": "ALL",
        "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs",
        "selectedColumns": [], "columnOrder": [], "columnWidths": {}, "viewMaximized": False,
        "runsHiddenMode": "SHOW_ALL", "runListHidden": False, "hideEmptyCharts": True,
        "useGroupedValuesInCharts": True, "groupBy": None, "groupsExpanded": {},
        "globalLineChartConfig": {
            "xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""
        },
        **state,
    }  # fmt: skip
    packed = base64.b64encode(zlib.compress(json.dumps(whole).encode(), 9)).decode()
    return json.dumps(
        {"name": name, "state": f"deflate;{packed}", "createdAt": _MADE, "updatedAt": _MADE}
    )


def _sections(title: str, charts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one section with these charts; those that MLflow makes by itself stay folded."""
    return {
        "compareRunCharts": [{**chart, "metricSectionId": "tamt"} for chart in charts],
        "compareRunSections": [
            {**_section("tamt", title), "columns": 2, "cardHeight": 320},
            *(_section(f"tamt-{name}", name, display=False) for name in _FOLDED),
        ],
        "isAccordionReordered": True,
    }


def _section(uuid: str, name: str, *, display: bool = True) -> dict[str, Any]:
    return {"uuid": uuid, "name": name, "display": display, "isReordered": True,
            "deleted": False, "isGenerated": False}  # fmt: skip


def _bar(metric: str) -> dict[str, Any]:
    return {"uuid": f"tamt-{metric}", "type": "BAR", "metricKey": metric, "deleted": False,
            "isGenerated": False, "runsCountToCompare": 100}  # fmt: skip


def _line(metric: str) -> dict[str, Any]:
    return {
        **_bar(metric), "type": "LINE", "selectedMetricKeys": [metric], "xAxisKey": "step",
        "yAxisKey": "metric", "selectedXAxisMetricKey": "", "yAxisExpressions": [],
        "xAxisScaleType": "linear", "scaleType": "linear", "range": {}, "lineSmoothness": 0,
        "ignoreOutliers": False, "useGlobalXaxisKey": False, "useGlobalLineSmoothing": False,
        "displayPoints": True,
    }  # fmt: skip

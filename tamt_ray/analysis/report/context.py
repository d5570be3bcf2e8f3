"""The input of every section of the report."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from tamt_ray.analysis.claims.catalogue import EvaluatedClaims, evaluate_claims
from tamt_ray.analysis.claims.evidence import Evidence, gather_evidence
from tamt_ray.analysis.figures.catalogue import figures
from tamt_ray.analysis.figures.vega import Figure
from tamt_ray.analysis.report.blocks import Block, Chart, Fold
from tamt_ray.analysis.report_data import ReportData


@dataclass(eq=False)
class Context:
    """The tables of a sweep, its figures, and the paper's statements with their verdicts."""

    data: ReportData

    @cached_property
    def figures(self) -> list[Figure]:
        """In the paper's order."""
        return figures(self.data)

    @cached_property
    def evidence(self) -> Mapping[str, Evidence]:
        """Evidence on the claims, by name of the model."""
        return gather_evidence(self.data)

    @cached_property
    def evaluated(self) -> EvaluatedClaims:
        """The statements of the paper with what the data say."""
        return evaluate_claims(self.evidence)

    def named(self, model: str, words: str = "") -> str:
        """Return the words, behind the name of the model where the sweep has several."""
        if len(self.data.sweep.models) < 2:
            return words
        return f"{model}, {words}" if words else model

    def charts(self, *names: str, folded: bool = False) -> list[Block]:
        """Return the figures of these names, of each model, in the order given; a name that ends in
        "_" stands for all that begin with it. Behind a line if `folded`, or if they show little."""
        ends = ["", *(f"_{model}" for model in self.data.sweep.models)]
        found = [
            figure
            for name in names
            for figure in self.figures
            if figure.name in {name + end for end in ends}
            or (name.endswith("_") and figure.name.startswith(name))
        ]
        return [
            Fold(f"{f.title} ({f.weak})" if f.weak else f.title, [Chart(f)])
            if folded or f.weak
            else Chart(f)
            for f in found
        ]

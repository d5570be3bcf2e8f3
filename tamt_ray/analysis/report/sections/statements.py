"""The paper's statements: those that the sweep decides, then all others behind one line."""

from collections import Counter
from collections.abc import Iterator

from tamt_ray.analysis.claims.catalogue import EvaluatedClaims, Rule
from tamt_ray.analysis.report import blocks
from tamt_ray.analysis.report.blocks import Block, Fold, Paragraph, ReportTable, TableCell
from tamt_ray.analysis.report.context import Context

_MARKS: dict[str, blocks.Mark] = {
    "supported": "best", "contradicted": "missing", "does not hold here": "missing",
    "not decidable": "",
}  # fmt: skip
_ABOUT = (
    "A verdict takes evidence beyond the noise of this sweep's seeds; all else is “not decidable” "
    "from its data. Each statement is about BERT-base, RoBERTa-base or both; what would contradict "
    "it on another model is “does not hold here”. There is no correction over the statements: each "
    "has its own 5 %, so of twenty that are false by a hair one may count as supported by chance."
)

_NO_ROLE = (
    "The paper's statements are tested on models that stand for one of the paper's: a model with "
    "“role: bert” or “role: roberta” in the sweep file. This sweep has none."
)


def section(context: Context) -> Iterator[Block]:
    """Yield each statement, the statistic that tests it, its value here, and the verdict."""
    if context.data.sweep.tune:
        return  # Masks that were tuned on these losses are no evidence on them.
    several = len({model for _, model, _ in context.evaluated if model}) > 1
    decided = [found for found in context.evaluated if found[2].verdict != "not decidable"]
    # Those that the seeds leave open come first, then those without data.
    open_ = [found for found in context.evaluated if found not in decided]
    open_.sort(key=lambda found: not found[2].tested)
    if not context.evaluated:
        yield Paragraph(_NO_ROLE)
    if context.evaluated:
        tally = Counter(finding.verdict for _, _, finding in context.evaluated)
        words = ", ".join(f"{verdict}: {tally[verdict]}" for verdict in _MARKS if tally[verdict])
        yield Paragraph(f"{words.capitalize()}.")
    if decided:
        yield _table(decided, several)
    if open_:
        noisy = sum(finding.tested for _, _, finding in open_)
        words = (
            f"{len(open_)} statements that this sweep does not decide: {noisy} within the noise of "
            f"its seeds, {len(open_) - noisy} without data, seeds or models"
        )
        yield Fold(words, [_table(open_, several)])
    if context.evaluated:
        rules = blocks.Bullets([rule.value for rule in Rule])
        yield Fold("What a verdict takes, and the rules", [Paragraph(_ABOUT), rules])


def _table(evaluated: EvaluatedClaims, several: bool) -> ReportTable:
    rows = [
        [
            TableCell(claim.statement, claim.where),
            TableCell(claim.statistic, f"rule: {claim.rule.title}"),
            TableCell(f"{model}: {finding.value}" if several else finding.value)
            if finding.value
            else blocks.NONE,
            TableCell(finding.verdict, finding.why, _MARKS[finding.verdict]),
        ]
        for claim, model, finding in evaluated
    ]
    head = ["the paper says", "what is measured", "value here", "verdict"]
    return ReportTable(head, rows, words=True)

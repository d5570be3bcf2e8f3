"""Settings of the report, which change no result."""

from tamt_ray.tasks.scores import Select
from tamt_ray.values.base import Frozen


class ReportSettings(Frozen):
    """How scores are read from the records."""

    select: Select = "all"
    """Examples that choose the best evaluation of a fine-tune: `all` that it is measured on, as in
    the paper, or `half`: choose on one half of the validation set, measure on the other, both ways,
    and average."""

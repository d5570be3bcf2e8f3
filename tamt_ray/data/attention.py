"""Attention masks over which no host waits for its GPU."""

from torch import Tensor
from transformers import PreTrainedConfig

_AS_GIVEN = frozenset({"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"})
"""Architectures in which all layers use a mask [batch, 1, length, length] as it is."""


def whole_mask(real: Tensor, config: PreTrainedConfig) -> Tensor:
    """The mask for a model that hides the tokens where `real` [batch, length] is 0.

    Given flat masks, transformers reads from the device whether they hide anything. A whole one it
    takes as it is. Of other architectures than those known here, layers may build masks of their
    own from the flat one, so they get that.
    """
    if config.model_type not in _AS_GIVEN or config._attn_implementation != "sdpa":
        return real
    return real.bool()[:, None, None, :].expand(-1, 1, real.shape[1], -1)

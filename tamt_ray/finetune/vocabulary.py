"""A word embedding with rows only for the tokens that some data hold.

Half of a small encoder's weights and a fifth of BERT-base's are rows of words. One that no batch
reads has no gradient, so Adam never moves it; weight decay would, without any effect.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from tamt_ray.masks.mask import Mask
from tamt_ray.tasks.features.examples import Indices, PackedSequences


def tokens_of(data: Iterable[PackedSequences]) -> Indices:
    """Return the tokens that batches of these data hold, padding included, in ascending order."""
    data = list(data)
    held = np.zeros(1 + max(max(s.pad_id, int(s.ids.max())) for s in data), dtype=bool)
    for sequences in data:
        held[sequences.ids] = True
        held[sequences.pad_id] = True
    return np.flatnonzero(held)


class Vocabulary:
    """θ0's word embedding [tokens, hidden], of which an encoder has some rows or all."""

    def __init__(
        self, body: nn.Module, parameter: str, weight: Tensor, padding: int | None
    ) -> None:
        """`parameter`: name of the matrix in `body`; `weight`: θ0's, on the CPU; `padding`: the
        token whose row gets no gradient."""
        self.parameter = parameter
        self._body = body
        self._place = parameter.removesuffix(".weight")
        self._weight = weight
        self._padding = padding
        self._tokens: Tensor | None = None

    @classmethod
    def find(cls, body: nn.Module, weights: Mapping[str, Tensor]) -> "Vocabulary | None":
        """Out of θ0 on the CPU, by name. None for an embedding that does more than to look up
        rows, or whose matrix has another use: it has to stay whole."""
        embedding = getattr(body, "get_input_embeddings", lambda: None)()
        if type(embedding) is not nn.Embedding or embedding.max_norm is not None:
            return None
        every = body.named_parameters(remove_duplicate=False)
        names = [name for name, parameter in every if parameter is embedding.weight]
        if len(names) != 1:
            return None
        return cls(body, names[0], weights[names[0]], embedding.padding_idx)

    def reset(self, tokens: Indices | None, device: torch.device) -> None:
        """Give the encoder θ0's rows of `tokens`, ascending, and no others; of all where None.

        It goes on reading tokens by their own numbers.
        """
        count = len(self._weight)
        chosen = torch.arange(count) if tokens is None else torch.from_numpy(tokens)
        row = torch.full((count,), count)  # a token without a row is out of range
        row[chosen] = torch.arange(len(chosen))
        padding = None if self._padding is None else int(row[self._padding])
        embedding = nn.Embedding.from_pretrained(
            self._weight[chosen].to(device),
            freeze=False,
            padding_idx=None if padding == count else padding,
        )
        row = row.to(device)
        embedding.register_forward_pre_hook(lambda _, inputs: (row[inputs[0]],))
        self._body.set_submodule(self._place, embedding)
        self._tokens = None if tokens is None else chosen

    def rows(self, mask: Mask) -> Mask:
        """Return the mask, of the rows that the encoder has."""
        if self._tokens is None or self.parameter not in mask:
            return mask
        return Mask({**mask, self.parameter: mask[self.parameter][self._tokens]})

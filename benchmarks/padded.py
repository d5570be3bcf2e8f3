"""Fine-tuning as the released code does it: every batch padded to one length, masks multiplied in
every forward, one tensor at a time in the optimiser."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

from tamt_ray.finetune.model import Network
from tamt_ray.masks.mask import Mask
from tamt_ray.tasks.classification import Classification
from tamt_ray.tasks.features.examples import Indices, PackedSequences


class Padded:
    """One network; `pretrained` are θ0 and its head, to begin every epoch from."""

    def __init__(
        self, network: Network, mask: Mask, matrices: Mapping[str, nn.Parameter], length: int
    ) -> None:
        """`length`: tokens of every sequence, padding included."""
        self.network = network
        self._length = length
        self._device = next(network.parameters()).device
        self._masked: list[nn.Module] = []
        places = {
            id(p): (m, n) for m in network.modules() for n, p in m.named_parameters("", False)
        }
        for name, weight in matrices.items():
            module, parameter = places[id(weight)]
            prune.custom_from_mask(module, parameter, mask[name].float().to(self._device))
            self._masked.append(module)
        self._pretrained = {n: p.detach().clone() for n, p in network.named_parameters()}

    def epoch(
        self,
        sequences: PackedSequences,
        targets: Tensor,
        task: Classification,
        batches: Sequence[Indices],
    ) -> float:
        """Train on these batches from θ0 on; the mean loss."""
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(self._pretrained[name])
        parameters = list(self.network.parameters())
        optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.ndim > 1]},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=task.lr, betas=(0.9, 0.999), eps=task.eps, weight_decay=task.weight_decay,
            foreach=False,
        )  # fmt: skip
        losses: list[Tensor] = []
        self.network.train()
        for step, indices in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = task.lr * (len(batches) - step) / len(batches)
            outputs = self.network(self._inputs(sequences, indices))
            chosen = targets[torch.from_numpy(indices)].to(self._device)
            loss = F.cross_entropy(outputs, chosen)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, task.clip)
            optimizer.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    def weights(self) -> dict[str, Tensor]:
        """What was trained, under the names of the unmasked network, pruned ones zero."""
        state = self.network.state_dict()
        found = {n: v for n, v in state.items() if not n.endswith(("_orig", "_mask"))}
        for name in (n for n in state if n.endswith("_orig")):
            plain = name.removesuffix("_orig")
            found[plain] = state[name] * state[f"{plain}_mask"]
        return found

    def _inputs(self, sequences: PackedSequences, indices: Indices) -> dict[str, Tensor]:
        ids = torch.full((len(indices), self._length), sequences.pad_id)
        types, real = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, index in enumerate(indices.tolist()):
            tokens = slice(sequences.starts[index], sequences.starts[index + 1])
            length = tokens.stop - tokens.start
            ids[row, :length] = torch.from_numpy(sequences.ids[tokens])
            real[row, :length] = 1
            if sequences.types is not None:
                types[row, :length] = torch.from_numpy(sequences.types[tokens])
        named = {"input_ids": ids, "attention_mask": real, "token_type_ids": types}
        return {name: tensor.to(self._device) for name, tensor in named.items()}

"""The `Bench` of one unit: model, text, masks and training for a method. Knows nothing of Ray."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from safetensors.torch import load
from torch import Tensor

from tamt_ray.data.archive import read_file
from tamt_ray.data.blocks import load_text
from tamt_ray.data.checkpoint import load_checkpoint
from tamt_ray.data.history import History
from tamt_ray.data.table import load_rows, name_of
from tamt_ray.data.tokens import Tokens
from tamt_ray.masks.file import mask_from_bytes
from tamt_ray.masks.mask import Mask
from tamt_ray.methods.trained import TrainedSearch
from tamt_ray.objectives.base import Objective
from tamt_ray.search.engine import Settings, train
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Corrupted, Stream, stack
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.search.state import Checkpointer, Stateful
from tamt_ray.store.record import MASK
from tamt_ray.values.model import Model
from tamt_ray.values.text import Text

HEAD = "head.safetensors"
ReadArtifact = Callable[[str, str], bytes]
"""The content of an artifact, by unit and name."""


def _silent(_step: int, _steps: int) -> None:
    """Ignore the progress."""


class UnitBench:
    """The `methods.search.Bench` of one unit."""

    def __init__(
        self,
        model: Model,
        group: ProcessGroup,
        artifact: ReadArtifact,
        progress: Callable[[int, int], None] | None = None,
        checkpointer: Checkpointer | None = None,
        *,
        steps: int | None = None,
        graphs: bool = False,
    ) -> None:
        """`artifact` reads what a parent left; `steps`: train so many instead of all; `graphs`:
        replay micro-batches as CUDA graphs."""
        self.progress = progress or _silent
        self.sources: dict[str, str] = {}
        """Fingerprints of what was read, as records have them."""
        self.matrices: dict[str, Tensor] = {}
        """Shapes of the prunable matrices, once the model was asked for; without their values."""
        self._model = model
        self._group = group
        self._artifact = artifact
        self._checkpointer = checkpointer
        self._steps = steps
        self._graphs = graphs

    def model(self, head: str | None = None) -> LanguageModel:
        """Return a fresh θ0 on the device. Raises SourceError."""
        checkpoint = load_checkpoint(self._model.source)
        self.sources[self._model.source] = checkpoint.fingerprint
        model = LanguageModel(
            checkpoint.path,
            self.tensors(head, HEAD) if head else None,
            self._group.device,
            prune=self._model.prune,
            pooler=self._model.pooler,
        )
        self.matrices = {name: weight.to("meta") for name, weight in model.dense.items()}
        return model

    def text(self, text: Text) -> Tokens:
        """Return the sequences of a text for the model's tokenizer. Raises SourceError."""
        # A record names the rows of a table, whatever tokens they became.
        self.sources[name_of(text.table)] = load_rows(text.table).fingerprint
        return load_text(text, self._model.source)

    def batches(self, text: Text, size: int, count: int, seed: int) -> Iterator[Corrupted]:
        """Yield corrupted batches on the device. Raises SourceError."""
        stream = Stream(self.text(text), size, seed, text.mlm_probability, one_token=text.one_token)
        for step in range(count):
            yield stack(stream.batch(step)).to(self._group.device)

    def file(self, source: str) -> bytes:
        """Return the content of a single file. Raises SourceError."""
        data = read_file(source)
        self.sources[source] = hashlib.sha256(data).hexdigest()
        return data

    def mask(self, unit: str) -> Mask:
        """Return the mask of a parent."""
        return mask_from_bytes(self._artifact(unit, MASK))

    def tensors(self, unit: str, name: str) -> dict[str, Tensor]:
        """Return a safetensors artifact of a parent."""
        return load(self._artifact(unit, name))

    def train(
        self,
        search: TrainedSearch,
        model: LanguageModel,
        objective: Sequence[Objective],
        inner: Stateful,
        *,
        first: int = 0,
    ) -> History:
        """Train over the workers of the gang. Raises NonFiniteLossError with the step."""
        settings = Settings(
            search.training, search.optimizer, self._steps or search.steps, search.seed
        )
        return train(
            model, objective, inner, self.stream(search.text, settings, first), settings,
            self._group, self.progress, checkpointer=self._checkpointer, graphs=self._graphs,
        )  # fmt: skip

    def stream(self, text: Text, settings: Settings, first: int = 0) -> Stream:
        """Return the training data, batch by batch. Raises SourceError."""
        return Stream(
            self.text(text),
            settings.training.batch_size,
            settings.seed,
            text.mlm_probability,
            first,
            text.one_token,
        )

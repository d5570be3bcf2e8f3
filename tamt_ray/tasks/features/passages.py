"""Features of questions on passages: windows over the passage, as BERT reads SQuAD."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tamt_ray.data.checkpoint import pad_id
from tamt_ray.data.device import send
from tamt_ray.data.table import Rows
from tamt_ray.tasks.features.examples import Batch, PackedSequences, subset
from tamt_ray.tasks.features.questions import Question, questions
from tamt_ray.tasks.features.spans import best_span
from tamt_ray.tasks.metrics.base import Predictions
from tamt_ray.tasks.spans import Spans

Ids = NDArray[np.int32]
Offsets = NDArray[np.int32]
"""[tokens, 2]: first character of each token, and the one behind its last."""


@dataclass(frozen=True)
class Template:
    """Special tokens around and between the two parts, and the segment of every place."""

    before: Ids
    between: Ids
    after: Ids
    segments: tuple[int, int, int, int, int] | None
    """Segment ids of before, first part, between, second part and after; None without segments."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Self:
        """Read off a pair of one-word texts. Raises ValueError for a slow tokenizer."""
        if not tokenizer.is_fast:
            raise ValueError(f"{tokenizer.name_or_path}: no fast tokenizer, which spans need")
        pair = tokenizer("a", "a")
        parts: list[int | None] = pair.sequence_ids(0)
        ids = np.array(pair["input_ids"], dtype=np.int32)
        first, second = parts.index(0), parts.index(1)
        last = len(parts) - parts[::-1].index(1)
        behind = len(parts) - parts[::-1].index(0)
        types: list[int] | None = pair.get("token_type_ids")
        return cls(
            before=ids[:first],
            between=ids[behind:second],
            after=ids[last:],
            segments=(types[0], types[first], types[behind], types[second], types[-1])
            if types
            else None,
        )

    @property
    def length(self) -> int:
        """Special tokens of a pair."""
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, first: Ids, second: Ids) -> Ids:
        """Return the sequence of a pair."""
        return np.concatenate([self.before, first, self.between, second, self.after])

    def types(self, first: int, second: int) -> NDArray[np.uint8] | None:
        """Return the segments of a pair of these lengths in tokens."""
        if self.segments is None:
            return None
        counts = (len(self.before), first, len(self.between), second, len(self.after))
        return np.repeat(np.array(self.segments, dtype=np.uint8), counts)


@dataclass(frozen=True)
class Window:
    """Some tokens of one passage behind a question."""

    question: int
    offset: int
    """Index of the passage's first token in the sequence."""
    first: int
    """The first token of the passage that it holds."""
    length: int
    """Tokens of the passage that it holds."""


@dataclass(frozen=True)
class Passages:
    """Windows of questions on passages, with the gold answers."""

    sequences: PackedSequences
    windows: list[Window]
    """One for each sequence."""
    targets: Tensor
    """[sequences, 2] int64: first and last token of the answer; 0, 0 where it is elsewhere."""
    questions: list[Question]
    offsets: list[Offsets]
    """Character offsets of each question's passage; equal passages share one array."""
    task: Spans
    fingerprint: str

    @property
    def count(self) -> int:
        """Questions."""
        return len(self.questions)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, Python objects estimated."""
        shared = {id(offsets): offsets.nbytes for offsets in self.offsets}
        return self.sequences.nbytes + sum(shared.values()) + 200 * len(self.windows)

    @classmethod
    def read(
        cls,
        task: Spans,
        rows: Rows,
        tokenizer: PreTrainedTokenizerBase,
        limit: int | None,
        seed: int | str,
    ) -> "Passages":
        """Return the windows of at most `limit` questions. Raises ValueError for rows that do not
        fit."""
        everything = questions(rows)
        chosen = [everything[i] for i in subset(len(everything), limit, seed)]
        template = Template.of(tokenizer)
        room = task.max_length - task.max_query - template.length
        if room < 1:
            raise ValueError(
                f"max_length {task.max_length} leaves no room for the passage beside a question of "
                f"max_query {task.max_query} tokens; raise the one or lower the other"
            )
        asked = tokenizer([q.text for q in chosen], add_special_tokens=False, verbose=False)
        read = {context: i for i, context in enumerate(dict.fromkeys(q.context for q in chosen))}
        encoded = tokenizer(
            list(read), add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        contexts = [np.array(ids, dtype=np.int32) for ids in encoded["input_ids"]]
        offsets = [
            np.array(pairs, dtype=np.int32).reshape(-1, 2) for pairs in encoded["offset_mapping"]
        ]

        windows: list[Window] = []
        targets: list[tuple[int, int]] = []
        ids: list[NDArray[np.int32]] = []
        types: list[NDArray[np.uint8]] = []
        for number, question in enumerate(chosen):
            query = np.array(asked["input_ids"][number][: task.max_query], dtype=np.int32)
            passage = contexts[read[question.context]]
            span = token_span(question, offsets[read[question.context]])
            longest = task.max_length - template.length - len(query)
            for first, length in cuts(len(passage), longest, task.doc_stride):
                part = passage[first : first + length]
                offset = len(template.before) + len(query) + len(template.between)
                windows.append(Window(number, offset, first, length))
                targets.append(_target(span, windows[-1]))
                ids.append(template.join(query, part))
                if (segments := template.types(len(query), length)) is not None:
                    types.append(segments)
        return cls(
            sequences=PackedSequences(
                ids=np.concatenate(ids),
                types=np.concatenate(types) if types else None,
                starts=np.cumsum([0, *map(len, ids)], dtype=np.int64),
                pad_id=pad_id(tokenizer),
            ),
            windows=windows,
            targets=torch.tensor(targets, dtype=torch.int64),
            questions=chosen,
            offsets=[offsets[read[question.context]] for question in chosen],
            task=task,
            fingerprint=rows.fingerprint,
        )

    def pack(self) -> dict[str, Tensor]:
        """Return the features as tensors; `told` holds the texts as JSON."""
        places: dict[int, int] = {}
        read: list[Offsets] = []
        for offsets in self.offsets:
            if id(offsets) not in places:
                places[id(offsets)] = len(read)
                read.append(offsets)
        texts = json.dumps([astuple(question) for question in self.questions]).encode()
        return {
            **self.sequences.pack(),
            "targets": self.targets,
            "windows": torch.tensor([astuple(window) for window in self.windows]),
            "offsets": torch.from_numpy(np.concatenate(read)),
            "offset_lengths": torch.tensor([len(offsets) for offsets in read]),
            "offset_places": torch.tensor([places[id(offsets)] for offsets in self.offsets]),
            "told": torch.frombuffer(bytearray(texts), dtype=torch.uint8),
        }

    @classmethod
    def unpack(cls, tensors: Mapping[str, Tensor], task: Spans, fingerprint: str) -> "Passages":
        """Return the features that `pack` stored."""
        lengths: list[int] = tensors["offset_lengths"].tolist()
        read = [part.numpy() for part in tensors["offsets"].split(lengths)]
        told: list[tuple[str, str, str, list[str], int]] = json.loads(
            tensors["told"].numpy().tobytes()
        )
        return cls(
            sequences=PackedSequences.unpack(tensors),
            windows=[Window(*row) for row in tensors["windows"].tolist()],
            targets=tensors["targets"],
            questions=[
                Question(name, text, context, tuple(answers), start)
                for name, text, context, answers, start in told
            ],
            offsets=[read[place] for place in tensors["offset_places"].tolist()],
            task=task,
            fingerprint=fingerprint,
        )

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of start and end over the real tokens; outputs [batch, tokens, 2].

        Padding is left out, so that the loss of an example depends on no other one.
        """
        targets = send(self.targets[torch.from_numpy(batch.indices)], outputs.device)
        padding = batch.inputs["attention_mask"].unsqueeze(-1) == 0
        return F.cross_entropy(
            outputs.masked_fill(padding, torch.finfo(outputs.dtype).min), targets
        )

    def predictions(self, outputs: Sequence[NDArray[np.float32]]) -> Predictions:
        """Return the best answer to each question."""
        gold = [question.answers for question in self.questions]
        return Predictions(gold, self.answers(outputs))

    def constants(self) -> Iterator[Predictions]:
        """Yield the empty answer to every question."""
        gold = [question.answers for question in self.questions]
        yield Predictions(gold, [""] * len(gold))

    def answers(self, outputs: Sequence[NDArray[np.float32]]) -> list[str]:
        """Return the best answer to each question over all its windows; empty where there is
        none."""
        best: list[tuple[float, str]] = [(-np.inf, "")] * len(self.questions)
        for window, output in zip(self.windows, outputs, strict=True):
            inside = output[window.offset : window.offset + window.length]
            span = best_span(inside, self.task.n_best, self.task.max_answer)
            if span is not None and span.score > best[window.question][0]:
                offsets = self.offsets[window.question]
                begin = offsets[window.first + span.start, 0]
                end = offsets[window.first + span.end, 1]
                text = self.questions[window.question].context[begin:end]
                best[window.question] = span.score, text
        return [text for _, text in best]


def cuts(tokens: int, longest: int, stride: int) -> list[tuple[int, int]]:
    """(first, length) of the windows over a passage: one every `stride` tokens until its end."""
    step = min(stride, longest)
    firsts = range(0, max(tokens - longest, 0) + step, step)
    return [(first, min(longest, tokens - first)) for first in firsts]


def token_span(question: Question, offsets: Offsets) -> tuple[int, int]:
    """First and last token that hold a character of the first gold answer."""
    begin = question.answer_start
    end = begin + len(question.answers[0])
    inside = np.flatnonzero((offsets[:, 1] > begin) & (offsets[:, 0] < end))
    if len(inside) == 0:
        raise ValueError(
            f"question {question.id}: no token lies in the answer {question.answers[0]!r}"
        )
    return int(inside[0]), int(inside[-1])


def _target(span: tuple[int, int], window: Window) -> tuple[int, int]:
    """Return the answer's first and last token in the sequence; (0, 0) if not in the window."""
    first, last = span
    if first < window.first or last >= window.first + window.length:
        return 0, 0
    return first - window.first + window.offset, last - window.first + window.offset

"""Masked-language-model corruption: 15 % of tokens, 80/10/10; and the data stream."""

import math

import pytest
import torch

from tamt_ray.data.tokens import Blocks, Documents, Special
from tamt_ray.search.mlm_corruption import Corrupted, Stream, corrupt, stack

VOCABULARY = 1000
SPECIAL = Special(2, 3, 4, 0, frozenset({0, 1, 2, 3, 4}), VOCABULARY)


def blocks(rows: int, length: int) -> Blocks:
    """Random words between CLS and SEP; no word is special."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VOCABULARY, (rows, length), generator=generator, dtype=torch.int32)
    ids[:, 0], ids[:, -1] = SPECIAL.cls, SPECIAL.sep
    return Blocks(ids, SPECIAL)


def original(batch: Corrupted) -> torch.Tensor:
    """The text before the corruption."""
    return batch.ids.masked_scatter(batch.chosen, batch.labels)


def bound(p: float, n: int) -> float:
    """Five standard deviations of a share of n draws."""
    return 5 * math.sqrt(p * (1 - p) / n)


@pytest.fixture(scope="module")
def many() -> tuple[Blocks, Corrupted]:
    """400 blocks of 512 tokens."""
    text = blocks(400, 512)
    return text, stack(corrupt(text, list(range(400)), list(range(400)), 0.15))


def test_fifteen_percent_of_the_words_are_chosen(many: tuple[Blocks, Corrupted]) -> None:
    _, batch = many
    words = 400 * 510
    assert abs(len(batch.labels) / words - 0.15) < bound(0.15, words)
    # Evenly over the places within a block: a χ² of 509 degrees is within six deviations.
    expected = len(batch.labels) / 510
    spread = ((batch.chosen[:, 1:-1].sum(0) - expected) ** 2 / (expected * 0.85)).sum()
    assert abs(float(spread) - 509) < 6 * math.sqrt(2 * 509)


def test_of_the_chosen_80_percent_are_masked_10_random_and_10_kept(
    many: tuple[Blocks, Corrupted],
) -> None:
    text, batch = many
    shown, true = batch.ids[batch.chosen], batch.labels
    n = len(true)
    masked, kept = shown == SPECIAL.mask, shown == true
    # A random word is the original or MASK itself once in a thousand.
    assert abs(float(masked.float().mean()) - 0.8) < bound(0.8, n) + 1e-4
    assert abs(float(kept.float().mean()) - 0.1001) < bound(0.1, n)
    changed = shown[~masked & ~kept]
    assert abs(len(changed) / n - 0.1) < bound(0.1, n) + 2e-4
    # Random words come from the whole vocabulary, evenly.
    assert 0 <= int(changed.min()) < 10
    assert VOCABULARY - 10 < int(changed.max()) < VOCABULARY
    middle = float(changed.float().mean())
    assert abs(middle - 499.5) < 5 * VOCABULARY / math.sqrt(12 * len(changed)) + 1
    assert text.ids.dtype == torch.int32


def test_labels_are_the_original_words_and_nothing_else_changes(
    many: tuple[Blocks, Corrupted],
) -> None:
    text, batch = many
    assert torch.equal(original(batch), text.ids.long())
    assert torch.equal(batch.ids[~batch.chosen], text.ids.long()[~batch.chosen])
    assert torch.equal(batch.labels, text.ids.long()[batch.chosen])
    assert torch.equal(text.ids, blocks(400, 512).ids), "the shared tensor was written to"


def test_cls_and_sep_are_never_chosen(many: tuple[Blocks, Corrupted]) -> None:
    _, batch = many
    assert not batch.chosen[:, 0].any()
    assert not batch.chosen[:, -1].any()
    assert (batch.ids[:, 0] == SPECIAL.cls).all()
    assert (batch.ids[:, -1] == SPECIAL.sep).all()


def test_a_rows_corruption_depends_on_its_seed_only() -> None:
    text = blocks(6, 64)
    together = corrupt(text, [0, 1, 2, 3], [10, 11, 12, 13], 0.15)
    torch.manual_seed(99)
    alone = corrupt(text, [2], [12], 0.15)
    assert torch.equal(together[2].ids, alone[0].ids)
    assert torch.equal(together[2].chosen, alone[0].chosen)
    # Another row of the same seed: the same places, by the same fate.
    other = corrupt(text, [5], [12], 0.15)
    assert torch.equal(other[0].chosen, alone[0].chosen)
    assert torch.equal(other[0].ids == SPECIAL.mask, alone[0].ids == SPECIAL.mask)
    assert not torch.equal(corrupt(text, [2], [13], 0.15)[0].chosen, alone[0].chosen)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10])
def test_every_epoch_is_a_permutation_of_all_blocks(batch_size: int) -> None:
    text = blocks(7, 32)
    stream = Stream(text, batch_size, 3, 0.15)
    rows: list[int] = []
    for step in range(42 // batch_size + 1):
        batch = stream.batch(step)
        assert len(batch) == batch_size
        for block in batch:
            # Each block is one of the text's, unaffected but for the corruption.
            (row,) = (text.ids.long() == original(block)).all(1).nonzero().flatten().tolist()
            rows.append(row)
    epochs = [rows[start : start + 7] for start in range(0, 42, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 3
    # However long the batches are, the order of the blocks is the same.
    reference = Stream(text, 1, 3, 0.15)
    first = [original(reference.batch(place)[0]) for place in range(14)]
    assert all(
        torch.equal(block[0], text.ids[row].long()) for block, row in zip(first, rows, strict=False)
    )


def test_the_order_of_the_blocks_is_drawn_once_per_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs 7 ms at 230,000 blocks."""
    drawn: list[int] = []

    def randperm(total: int, **given: object) -> torch.Tensor:
        drawn.append(total)
        return plain(total, **given)

    plain = torch.randperm
    monkeypatch.setattr(torch, "randperm", randperm)
    stream = Stream(blocks(12, 8), 4, seed=86_243, probability=0.15)
    counts: list[int] = []
    for step in range(6):
        stream.batch(step)
        counts.append(len(drawn))
    assert counts == [1, 1, 1, 2, 2, 2]


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    text = blocks(7, 64)
    stream = Stream(text, 3, 3, 0.15)
    stream.batch(0)
    late = stack(stream.batch(5))
    fresh = stack(Stream(text, 3, 3, 0.15).batch(5))
    assert torch.equal(late.ids, fresh.ids)
    assert torch.equal(late.chosen, fresh.chosen)
    other = stack(Stream(text, 3, 4, 0.15).batch(5))
    assert not torch.equal(late.chosen, other.chosen)


def test_a_block_is_corrupted_anew_every_time() -> None:
    stream = Stream(blocks(1, 64), 2, 3, 0.15)
    chosen = [block.chosen for step in range(4) for block in stream.batch(step)]
    assert len({tuple(c.flatten().tolist()) for c in chosen}) == 8


def test_padding_is_neither_chosen_nor_shown_as_text() -> None:
    """Documents of one part with 1 to 61 words, padded to 64."""
    lengths = torch.arange(1, 62)
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(5, VOCABULARY, (int(lengths.sum()),), generator=generator)
    text = Documents(words.int(), lengths.cumsum(0), lengths, 64, 1, SPECIAL)
    drawn = [stack(corrupt(text, list(range(61)), [seed * 61 + r for r in range(61)], 0.15))
             for seed in range(40)]  # fmt: skip
    places = torch.arange(64)
    for batch in drawn:
        assert batch.real is not None
        assert torch.equal(batch.real, places < lengths[:, None] + 2)
        assert (batch.ids[~batch.real] == SPECIAL.pad).all()
        assert not (batch.chosen & ~batch.real).any()
        assert not batch.chosen[:, 0].any()
        assert not batch.chosen[torch.arange(61), lengths + 1].any()
        assert (batch.ids[torch.arange(61), lengths + 1] == SPECIAL.sep).all()
        assert torch.equal(original(batch), torch.stack([text.row(r).ids for r in range(61)]))
    n = 40 * int(lengths.sum())
    assert abs(sum(len(batch.labels) for batch in drawn) / n - 0.15) < bound(0.15, n)


@pytest.mark.parametrize("between", [1, 2])
def test_no_separator_of_a_pair_is_ever_chosen(between: int) -> None:
    """A of 1 to 20 words and B of 10, as BERT and as RoBERTa has them."""
    first = torch.arange(1, 21)
    words = torch.full((int((first + 10).sum()),), 9, dtype=torch.int32)
    text = Documents(words, (first + 10).cumsum(0), first, 40, between, SPECIAL)
    rows = list(range(20)) * 30
    drawn = stack(corrupt(text, rows, list(range(600)), 0.5))
    assert drawn.real is not None
    assert drawn.segments is not None
    ids, lengths = original(drawn), (first + 10 + 2 + between).repeat(30)
    assert torch.equal(drawn.real.sum(1), lengths)
    assert torch.equal((ids == SPECIAL.sep).sum(1), torch.full((600,), between + 1))
    # The second segment begins behind A's separator.
    assert torch.equal(drawn.segments.sum(1), torch.full((600,), 10 + between))
    assert torch.equal(drawn.segments.argmax(1), (first + 2).repeat(30))
    assert set(ids[drawn.chosen].tolist()) == {9}
    assert abs(len(drawn.labels) / (30 * len(words)) - 0.5) < bound(0.5, 30 * len(words))


def test_full_blocks_need_no_attention_mask_and_no_segments() -> None:
    found = stack(corrupt(blocks(2, 16), [0, 1], [0, 1], 0.15))
    assert found.real is None
    assert found.segments is None


def test_clean_text_is_the_text_and_nothing_is_predicted() -> None:
    text = blocks(6, 64)
    batch = stack(Stream(text, 6, 3, 0.0).batch(0))
    assert sorted(map(tuple, batch.ids.tolist())) == sorted(map(tuple, text.ids.tolist()))
    assert not batch.chosen.any()
    assert len(batch.labels) == 0


def test_one_token_of_a_block_is_drawn_once_for_all_epochs_and_seeds() -> None:
    text = blocks(500, 64)

    def epoch(number: int, seed: int) -> dict[tuple[int, ...], Corrupted]:
        """One pass over the text, by the original ids."""
        found = Stream(text, 500, seed, 0.0, one_token=True).batch(number)
        return {tuple(original(block)[0].tolist()): block for block in found}

    first = epoch(0, 1)
    assert len(first) == 500
    for other in (epoch(1, 1), epoch(0, 2)):
        assert list(other) != list(first)
        for ids, block in first.items():
            assert torch.equal(other[ids].ids, block.ids)
            assert torch.equal(other[ids].chosen, block.chosen)
    whole = stack(list(first.values()))
    assert (whole.chosen.sum(1) == 1).all()
    assert not whole.chosen[:, [0, -1]].any()
    places = whole.chosen.nonzero()[:, 1].float()
    assert abs(float(places.mean()) - 31.5) < 5 * 62 / math.sqrt(12 * 500)
    masked = whole.ids[whole.chosen] == SPECIAL.mask
    assert abs(float(masked.float().mean()) - 0.8) < bound(0.8, 500)

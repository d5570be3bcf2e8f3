"""Every architecture that can be searched, and why others are refused.

Models are tiny, with random weights, and saved by transformers itself.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel
from transformers.models.bert.modeling_bert import BertIntermediate

from tamt_ray.data.checkpoint import Checkpoint
from tamt_ray.data.tokens import Blocks, Special
from tamt_ray.finetune.model import Encoder
from tamt_ray.masks.mask import Mask, apply_mask, pruned_nonzero
from tamt_ray.masks.matrices import UnsupportedModelError
from tamt_ray.search.engine import Settings
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.tasks.classification import Classification
from tamt_ray.values.model import Model
from tamt_ray.values.training import Optimizer, Scoring, Training

from .conftest import SIZES, MakeModel, fill
from .search_probes import doubled, states, teacher_states, terms_of, train_level, train_mask

POSITIONS = {**SIZES, "max_position_embeddings": 34}
DISENTANGLED = {
    **POSITIONS, "relative_attention": True, "pos_att_type": "c2p|p2c", "type_vocab_size": 0,
    "position_biased_input": False,
}  # fmt: skip
ATTENTION = ("attention.self.query", "attention.self.key", "attention.self.value")
BERT = (*ATTENTION, "attention.output.dense", "intermediate.dense", "output.dense")
PROJECTED = tuple(f"{name}_proj" for name in ATTENTION)
FUSED = ("attention.self.in_proj", "attention.self.pos_proj", "attention.self.pos_q_proj")
WORDS = "embeddings.word_embeddings"
KINDS: dict[str, tuple[str, dict[str, object], str, str, tuple[str, ...]]] = {
    "bert": ("bert", POSITIONS, WORDS, "encoder.layer", BERT),
    "roberta": ("roberta", POSITIONS, WORDS, "encoder.layer", BERT),
    "camembert": ("camembert", POSITIONS, WORDS, "encoder.layer", BERT),
    "xlm-roberta": ("xlm-roberta", POSITIONS, WORDS, "encoder.layer", BERT),
    "roberta-prelayernorm": ("roberta-prelayernorm", POSITIONS, WORDS, "encoder.layer", BERT),
    "electra": ("electra", {**POSITIONS, "embedding_size": 8}, WORDS, "encoder.layer", BERT),
    "distilbert": (
        "distilbert",
        {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32,
         "max_position_embeddings": 34},
        WORDS,
        "transformer.layer",
        (*(f"attention.{name}_lin" for name in ("q", "k", "v", "out")), "ffn.lin1", "ffn.lin2"),
    ),
    "mpnet": (
        "mpnet", POSITIONS, WORDS, "encoder.layer",
        (*(f"attention.attn.{name}" for name in "qkvo"), "intermediate.dense", "output.dense"),
    ),
    "deberta": ("deberta", DISENTANGLED, WORDS, "encoder.layer", (*FUSED, *BERT[3:])),
    "deberta-v2": (
        "deberta-v2", {**DISENTANGLED, "share_att_key": True, "position_buckets": 8}, WORDS,
        "encoder.layer", (*PROJECTED, *BERT[3:]),
    ),
    "modernbert": (
        "modernbert", {**POSITIONS, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2,
                       "bos_token_id": 1, "eos_token_id": 2, "local_attention": 4},
        "embeddings.tok_embeddings", "layers", ("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"),
    ),
}  # fmt: skip
# Their newer head, whose decoder is the body's own embedding.
KINDS |= {
    f"{name}-newer-head": (kind, {**settings, "legacy": False}, *rest)
    for name in ("deberta", "deberta-v2")
    for kind, settings, *rest in [KINDS[name]]
}  # pyright: ignore
IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 0, 0]])
ATTENDED = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])


def publish(kind: str, settings: dict[str, object], path: Path) -> Path:
    with torch.random.fork_rng():
        model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(kind, **settings))
    fill(model, 0)
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module", params=KINDS)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """One architecture on disk: `path`, `matrices` that a mask must cover, `layers`, `words`."""
    kind, settings, words, layers, names = KINDS[request.param]
    return SimpleNamespace(
        path=publish(kind, settings, tmp_path_factory.mktemp(kind)),
        matrices={f"{words}.weight"}
        | {f"{layers}.{layer}.{name}.weight" for layer in (0, 1) for name in names},
        layers=layers,
        words=words,
    )


def whole(path: Path) -> PreTrainedModel:
    """The model as transformers reads it."""
    model: PreTrainedModel = AutoModelForMaskedLM.from_pretrained(path)
    return model.eval()


def test_the_linear_layers_and_the_word_embedding_are_masked(published: SimpleNamespace) -> None:
    model = LanguageModel(published.path)
    assert set(model.matrices) == set(model.dense) == published.matrices
    assert model.embedding == f"{published.words}.weight"
    assert model.has_published_head


def test_logits_at_chosen_tokens_are_those_of_the_whole_model(published: SimpleNamespace) -> None:
    model = LanguageModel(published.path).eval()
    chosen = torch.tensor([[0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0]]).bool()
    expected = whole(published.path)(input_ids=IDS, attention_mask=ATTENDED).logits
    found = model.logits(model.outputs(IDS, ATTENDED).last[chosen])
    assert found.shape == (3, 40)
    torch.testing.assert_close(found, expected[chosen])


def test_hidden_states_are_what_each_layer_gives(published: SimpleNamespace) -> None:
    reference = whole(published.path).base_model
    seen: list[Tensor] = []

    def note(_layer: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        seen.append(output if isinstance(output, Tensor) else output[0])

    for layer in reference.get_submodule(published.layers).children():
        layer.register_forward_hook(note)
    last = reference(input_ids=IDS, attention_mask=ATTENDED).last_hidden_state
    model = LanguageModel(published.path).eval()
    found = states(model, IDS, ATTENDED)
    assert len(found) == len(seen) == 2
    torch.testing.assert_close(found[0], seen[0])
    # Behind the last norm, where there is one.
    torch.testing.assert_close(found[1], last)
    torch.testing.assert_close(model.outputs(IDS, ATTENDED).last, last)


@torch.no_grad()
def test_attention_maps_of_every_layer_can_be_read(published: SimpleNamespace) -> None:
    model = doubled(LanguageModel(published.path)).eval()
    before = states(model, IDS, ATTENDED)
    reads = frozenset({"states", "attentions"})
    model.prepare(reads)
    found = model.outputs(IDS, ATTENDED, reads)
    assert [tuple(maps.shape) for maps in found.attentions] == [(2, 2, 6, 6)] * 2
    for maps in found.attentions:
        # Nothing looks at padding; what real tokens look at sums to one.
        torch.testing.assert_close(maps[0].sum(-1), torch.ones(2, 6).double())
        assert float(maps[1, :, :4, 4:].abs().max()) == 0
    for ours, theirs in zip(found.states, before, strict=True):
        # Some kernels take a softmax in single precision whatever they are given.
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    dense = model.teacher_outputs(IDS, ATTENDED, reads)
    assert torch.equal(torch.stack(dense.attentions), torch.stack(found.attentions))


def test_padding_does_not_reach_real_tokens(published: SimpleNamespace) -> None:
    model = LanguageModel(published.path).eval()
    other = torch.where(ATTENDED.bool(), IDS, 20)
    real = ATTENDED.bool()
    for ours, theirs in zip(
        states(model, IDS, ATTENDED), states(model, other, ATTENDED), strict=True
    ):
        torch.testing.assert_close(ours[real], theirs[real])
    assert not torch.allclose(model.outputs(IDS).last[real], model.outputs(other).last[real])


def test_a_mask_changes_the_body_and_neither_decoder_nor_teacher(
    published: SimpleNamespace,
) -> None:
    model = LanguageModel(published.path).eval()
    reference = whole(published.path)
    words = reference.get_input_embeddings().weight.detach().clone()
    dense = states(model, IDS, ATTENDED)
    model.prune(Mask.by_magnitude(model.dense, 0.7))
    for name, weight in model.matrices.items():
        assert int((weight == 0).sum()) >= int(0.69 * weight.numel()), name
    masked = states(model, IDS, ATTENDED)
    assert not any(torch.allclose(a, b) for a, b in zip(dense, masked, strict=True))
    for ours, theirs in zip(teacher_states(model, IDS, ATTENDED), dense, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(model.decoder.weight, words)
    # The whole dense model's own head, given the masked body's output.
    reference.base_model.register_forward_hook(
        lambda _module, _inputs, output: type(output)(last_hidden_state=masked[-1])
    )
    expected = reference(input_ids=IDS).logits
    torch.testing.assert_close(model.logits(masked[-1].flatten(0, 1)), expected.flatten(0, 1))


def test_gradients_reach_every_matrix_and_head_parameter_but_not_the_decoder(
    published: SimpleNamespace,
) -> None:
    model = LanguageModel(published.path).train()
    model.prune(Mask.by_magnitude(model.dense, 0.5))
    last = states(model, IDS, ATTENDED)[-1]
    model.logits(last[ATTENDED.bool()]).logsumexp(-1).sum().backward()
    for name, parameter in {**model.matrices, **model.head_parameters()}.items():
        assert parameter.grad is not None, name
        assert torch.count_nonzero(parameter.grad) > 0, name
    # Pruned weights have a gradient too, or none could ever come back.
    for name, weight in model.matrices.items():
        assert weight.grad is not None
        assert torch.count_nonzero(weight.grad[weight == 0]) > 0, name
    assert model.decoder.weight.grad is None


def test_both_ways_of_training_a_mask_run(published: SimpleNamespace) -> None:
    rows = torch.randint(5, 40, (8, 12), generator=torch.Generator().manual_seed(1))
    special = Special(cls=1, sep=2, mask=4, pad=0, every=frozenset(range(5)), vocabulary=40)
    stream = Stream(Blocks(rows.int(), special), 4, 1, 0.3)
    settings = Settings(Training(batch_size=4, micro_batch=2), Optimizer(lr=0.05), 2, 1)
    model = LanguageModel(published.path)
    first = Mask.by_magnitude(model.dense, 0.5)
    decoder = model.decoder.weight.clone()
    mask, history = train_mask(
        model, terms_of("mlm_kd"), 0.5, Scoring(), stream, settings, ProcessGroup()
    )
    assert set(mask) == published.matrices
    assert not all(torch.equal(mask[name], first[name]) for name in mask)
    assert torch.equal(model.decoder.weight, decoder)
    assert {"mlm_loss", "kd_loss"} <= {point.name for point in history.points}
    model = LanguageModel(published.path)
    trained, _, weights = train_level(model, first, 0.6, stream, settings, ProcessGroup())
    assert all(not (trained[name] & ~first[name]).any() for name in first)
    # Tied in training: what the head reads is what the input reads, there through the mask.
    assert not torch.equal(model.decoder.weight, decoder)
    words = model.matrices[model.embedding]
    assert torch.equal(words, model.decoder.weight * first[model.embedding])
    assert sum(weight.shape == decoder.shape for weight in weights.values()) == 1


def test_a_fine_tuning_step_leaves_zeros_zero(published: SimpleNamespace) -> None:
    mask = Mask.by_magnitude(LanguageModel(published.path).dense, 0.6)
    encoder = Encoder(Checkpoint(published.path, "unused"), torch.device("cpu"))
    table = {"source": "dir:/unused"}
    task = Classification.model_validate(
        {"kind": "classification", "text": ["a"], "train": table, "validation": [table], "lr": 1}
    )
    network = encoder.network(Model(source="dir:/unused"), task, 1)
    matrices, _ = encoder.masked(mask)
    assert set(matrices) == published.matrices
    apply_mask(matrices, mask)
    before = {name: weight.detach().clone() for name, weight in matrices.items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        outputs = network({"input_ids": IDS, "attention_mask": ATTENDED})
        nn.functional.cross_entropy(outputs, torch.tensor([0, 1])).backward()
        optimizer.step()
    assert pruned_nonzero(matrices, mask) == 0
    assert all(not torch.equal(matrices[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("albert", {**POSITIONS, "embedding_size": 16}, "runs 2 layers but owns 1: .* shared"),
        (
            "convbert", {**POSITIONS, "embedding_size": 16},
            "key_conv_attn_layer.* belongs to a SeparableConv1D",
        ),
        ("nystromformer", POSITIONS, "attention.self.conv.weight .* belongs to a Conv2d"),
        (
            "funnel",
            {"vocab_size": 40, "d_model": 16, "n_head": 2, "d_head": 8, "block_sizes": [1, 1],
             "num_decoder_layers": 1},
            r"has 2 lists of layers \(encoder.blocks, decoder.layers\)",
        ),
        (
            "bart",
            {"vocab_size": 40, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2},
            r"has 2 lists of layers \(encoder.layers, decoder.layers\)",
        ),
        (
            "squeezebert", {**POSITIONS, "embedding_size": 16},
            "no list of Transformer layers with linear weights",
        ),
        (
            "rembert", {**POSITIONS, "input_embedding_size": 16, "output_embedding_size": 16},
            r"has a decoder matrix of its own \(cls.predictions.decoder.weight\)",
        ),
        (
            "mobilebert",
            {**POSITIONS, "embedding_size": 8, "intra_bottleneck_size": 16,
             "true_hidden_size": 16},
            r"has a decoder matrix of its own \(cls.predictions.dense.weight\)",
        ),
        (
            "longformer", {**POSITIONS, "attention_window": [4, 4]},
            "LongformerModel cannot be taken apart",
        ),
    ],
)  # fmt: skip
def test_models_built_otherwise_are_refused_with_the_reason(
    kind: str, settings: dict[str, object], reason: str, tmp_path: Path
) -> None:
    path = publish(kind, settings, tmp_path)
    with pytest.raises(UnsupportedModelError, match=reason):
        LanguageModel(path)


def test_a_matrix_that_nothing_can_be_learnt_of_is_refused_unless_it_is_left_out(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def aside(layer: BertIntermediate, hidden: Tensor) -> Tensor:
        return layer.intermediate_act_fn(hidden @ layer.dense.weight.detach().T)

    monkeypatch.setattr(BertIntermediate, "forward", aside)
    path = make_model("bert")
    with pytest.raises(
        UnsupportedModelError,
        match=r"no gradient reaches 2 matrices of BertModel, encoder.layer.0.intermediate.dense",
    ):
        LanguageModel(path)
    model = LanguageModel(path, prune=("*.attention.*", "embeddings.*"))
    assert len(model.matrices) == 9


def test_logits_that_are_not_made_of_the_last_state_are_refused(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = transformers.BertForMaskedLM.forward

    def aside(
        model: transformers.BertForMaskedLM, input_ids: Tensor | None = None, **rest: object
    ) -> object:
        output = honest(model, input_ids=input_ids, **rest)
        if input_ids is not None:
            output.logits = output.logits + input_ids[..., None]
        return output

    monkeypatch.setattr(transformers.BertForMaskedLM, "forward", aside)
    with pytest.raises(UnsupportedModelError, match="not made of its last hidden state alone"):
        LanguageModel(make_model("bert"))

"""Models are directories without pickles, known by what is in them and not by where they lie."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tamt_ray.data.cache import SourceError
from tamt_ray.data.checkpoint import load_checkpoint, tokenizer


def test_the_fingerprint_is_of_the_content_not_of_the_place(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    (copy / "README.md").write_text("read by nobody")
    (copy / "checkpoint-500").mkdir()
    (copy / "checkpoint-500" / "model.safetensors").write_bytes(b"others")
    first, second = load_checkpoint(f"dir:{model}"), load_checkpoint(f"dir:{copy}")
    assert first.fingerprint == second.fingerprint
    assert (first.path, second.path) == (model, copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_any_change_of_a_used_file_changes_the_fingerprint(model: Path, name: str) -> None:
    before = load_checkpoint(f"dir:{model}").fingerprint
    if name == "model.safetensors":
        save_file({"weights": torch.tensor([0.0, 0.0, 1e-9])}, model / name)
    else:
        (model / name).write_bytes((model / name).read_bytes() + b" ")
    assert load_checkpoint(f"dir:{model}").fingerprint != before


def test_weights_that_change_places_change_the_fingerprint(model: Path) -> None:
    save_file({"more": torch.ones(1)}, model / "a.safetensors")
    before = load_checkpoint(f"dir:{model}").fingerprint
    (model / "a.safetensors").rename(model / "b.safetensors")
    assert load_checkpoint(f"dir:{model}").fingerprint != before


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", r"no \*\.safetensors.*pickled weights can run code"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_an_incomplete_model_is_refused_with_the_reason(
    model: Path, missing: str, reason: str
) -> None:
    (model / missing).unlink()
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(SourceError, match=reason):
        load_checkpoint(f"dir:{model}")


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no directory .*absent"):
        load_checkpoint(f"dir:{tmp_path}/absent")


def test_a_relative_path_is_relative_to_the_current_directory(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    assert load_checkpoint("dir:model").path == model


def test_a_mirror_holds_models(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(model, tmp_path / "mirror" / "models" / "org" / "tiny")
    monkeypatch.setenv("TAMT_MIRROR", str(tmp_path / "mirror"))
    there = load_checkpoint("hf:org/tiny")
    assert there.fingerprint == load_checkpoint(f"dir:{model}").fingerprint
    with pytest.raises(SourceError, match="hf:org/absent: no model in"):
        load_checkpoint("hf:org/absent")
    with pytest.raises(SourceError, match="no configurations"):
        load_checkpoint("hf:org/tiny#x")


def test_a_remote_mirror_gives_the_same_model_without_its_pickles(
    model: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import fs

    from tamt_ray.data.hub import Mirror

    root = tmp_path / "mirror"
    shutil.copytree(model, root / "models" / "org" / "tiny")
    (root / "models" / "org" / "tiny" / "pytorch_model.bin").write_bytes(b"pickle")
    monkeypatch.setenv("TAMT_MIRROR", "elsewhere")
    elsewhere = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())
    monkeypatch.setattr(Mirror, "_open", lambda _self: (elsewhere, ""))
    copied = load_checkpoint("hf:org/tiny")
    assert cache in copied.path.parents
    assert copied.fingerprint == load_checkpoint(f"dir:{model}").fingerprint
    assert not (copied.path / "pytorch_model.bin").exists()


@pytest.mark.usefixtures("offline")
def test_offline_the_hub_is_a_source_error_with_the_way_out() -> None:
    with pytest.raises(SourceError, match="TAMT_MIRROR=<dir> with the model in <dir>/models/a/b"):
        load_checkpoint("hf:a/b")


def test_the_tokenizer_is_the_models_own_and_loads_quietly(
    model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        words = tokenizer(load_checkpoint(f"dir:{model}"))
    assert words("b c", add_special_tokens=False)["input_ids"] == [6, 7]
    assert words.mask_token_id == 4
    assert capfd.readouterr() == ("", "")


def test_a_broken_tokenizer_is_a_source_error(model: Path) -> None:
    (model / "tokenizer.json").write_text("{")
    with pytest.raises(SourceError, match="tokenizer cannot be loaded"):
        tokenizer(load_checkpoint(f"dir:{model}"))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
         "model.safetensors is a pointer of git-lfs; fetch the weights by `git lfs pull`"),
        ("model.safetensors", None, "model.safetensors is damaged or cut off"),
        ("model.safetensors", b"", "model.safetensors is damaged or cut off"),
        ("model.safetensors", b"\xff" * 64, "model.safetensors is damaged or cut off"),
        ("config.json", b"version https://git-lfs", "config.json cannot be read"),
        ("config.json", b"[" * 100_000 + b"]" * 100_000, "config.json cannot be read: maximum rec"),
        ("config.json", b'{"hidden_size": ' + b"9" * 5000 + b"}", "config.json cannot be read"),
        ("config.json", b"[1]", "config.json is not a JSON object"),
    ],
)  # fmt: skip
def test_broken_files_of_a_model_are_refused_with_the_reason(
    model: Path, name: str, content: bytes | None, reason: str
) -> None:
    """None: the second half is cut off."""
    whole = (model / name).read_bytes()
    (model / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(SourceError) as caught:
        load_checkpoint(f"dir:{model}")
    assert str(caught.value).startswith(f"dir:{model}: {reason}")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b""),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"[" * 100_000 + b"]" * 100_000),
        ("tokenizer_config.json", b"[1]"),
        ("config.json", b'{"model_type": "bert", "hidden_size": "32"}'),
    ],
)
def test_a_broken_tokenizer_is_refused(model: Path, name: str, content: bytes) -> None:
    (model / name).write_bytes(content)
    with pytest.raises(SourceError, match="the tokenizer cannot be loaded"):
        tokenizer(load_checkpoint(f"dir:{model}"))

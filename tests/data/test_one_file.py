"""A source that is one file, such as a mask that was given."""

import os
from pathlib import Path

import pytest

from tamt_ray.data.archive import read_file
from tamt_ray.data.cache import SourceError


@pytest.mark.timeout(20)
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """It would be waited for until somebody writes."""
    os.mkfifo(tmp_path / "mask.safetensors")
    with pytest.raises(SourceError, match="is not a file"):
        read_file(f"dir:{tmp_path}/mask.safetensors")

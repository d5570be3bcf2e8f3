"""Frames of the live view on their way from a run to the notebook that started it."""

import io
import json
import os

from rich.console import Console, RenderableType

FRAMES = "TAMT_FRAMES"
"""Variable that holds the file descriptor to write frames to."""
_WIDTH, _HEIGHT = 110, 60
_PAGE = '<pre style="line-height:1.3;overflow-x:auto">{code}</pre>'


class Frames:
    """Writes each frame as a line: a JSON object of its text by media type.

    Does nothing where nobody asked for frames.
    """

    def __init__(self) -> None:
        # Taken out, so that no worker inherits it.
        given = os.environ.pop(FRAMES, "")
        self._descriptor = int(given) if given else None

    def show(self, view: RenderableType) -> None:
        """Write a frame."""
        if self._descriptor is None:
            return
        console = Console(
            file=io.StringIO(), record=True, width=_WIDTH, height=_HEIGHT, markup=False,
            emoji=False, force_jupyter=False,
        )  # fmt: skip
        console.print(view)
        page = console.export_html(clear=False, code_format=_PAGE, inline_styles=True)
        frame = {"text/plain": console.export_text(), "text/html": page}
        try:
            os.write(self._descriptor, json.dumps(frame).encode() + b"\n")
        except OSError:
            # The notebook is gone; the run goes on.
            self._descriptor = None

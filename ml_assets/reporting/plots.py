"""matplotlib figures as PNG, for HTML reports and for whatever shows Markdown."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

# Told apart by colour-blind eyes, too: Okabe and Ito 2008.
BLUE, ORANGE, RED, GREEN, GREY = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#8C8C8C"


@dataclass(frozen=True)
class Figure:
    """A plot of a report.

    Args:
        title: Heading above it.
        png: Its bytes.
        reading: One sentence that says how to read it.
    """

    title: str
    png: bytes
    reading: str

    @property
    def address(self) -> str:
        """A data URI that holds it."""
        return inline(self.png)


def new_figure(width: float, height: float) -> Any:
    """A figure without a window, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def as_png(figure: Any, dpi: int = 80) -> bytes:
    """A figure as PNG bytes; `savefig` would draw it twice, the first time only to lay it out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    file = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).save(file, format="png", dpi=(dpi, dpi))
    return file.getvalue()


def as_markdown(figure: Any, title: str) -> str:
    """A figure as a Markdown image with its bytes inline."""
    return f"![{title}]({inline(as_png(figure))})"


def inline(png: bytes) -> str:
    """PNG bytes as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"

"""matplotlib figures as Markdown images, for pages that show Markdown."""

from __future__ import annotations

import base64
import io
from typing import Any


def new_figure(width: float, height: float) -> Any:
    """A figure without a window, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def as_markdown(figure: Any, title: str) -> str:
    """A figure as a Markdown image with its bytes inline."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    return f"![{title}](data:image/png;base64,{base64.b64encode(file.getvalue()).decode()})"

"""The notebooks of docs/notebooks as pages, so that they can be read where nothing runs them."""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).parent / "notebooks"
SOURCE = "https://github.com/ml-assets/ml-assets/blob/main/docs/notebooks"


def notebook_pages() -> dict[Path, str]:
    """The file and text of each notebook's page."""
    return {file.with_suffix(".md"): page(file) for file in sorted(FOLDER.glob("*.ipynb"))}


def page(file: Path) -> str:
    """Its cells, after a line that says where the notebook is."""
    title, *cells = json.loads(file.read_text())["cells"]
    head, _, rest = "".join(title["source"]).partition("\n")
    return (
        "\n\n".join(
            [head, f"The notebook itself: [{file.name}]({SOURCE}/{file.name}).", rest.strip(), *map(shown, cells)]
        )
        + "\n"
    )


def shown(cell: dict[str, object]) -> str:
    """A cell as Markdown."""
    text = "".join(cell["source"])  # type: ignore[arg-type]
    return f"```python\n{text}\n```" if cell["cell_type"] == "code" else text

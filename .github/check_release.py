"""Does a tag fit what it releases? `python .github/check_release.py v0.1.0 https://github.com/OWNER/NAME`"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def problems(root: Path, tag: str, repository: str) -> list[str]:
    """What does not fit: the version, its entry in the CHANGELOG, the address that PyPI shows."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version, address = project["version"], project["urls"]["Repository"]
    entry = rf"^## {re.escape(version)} \(\d{{4}}-\d{{2}}-\d{{2}}\)$"
    found = []
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, the version in pyproject.toml {version}: tag v{version}")
    if not re.search(entry, (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE):
        found.append(f"CHANGELOG.md has no line '## {version} (YYYY-MM-DD)'")
    if address != repository:
        found.append(f"project.urls.Repository in pyproject.toml is {address}, this repository {repository}")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(problems(Path(__file__).parents[1], *sys.argv[1:3])) or None)

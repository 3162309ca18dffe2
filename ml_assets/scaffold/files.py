"""The files of a source that nobody has described yet: which there are, and what names their batches."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_assets.errors import SourceError, did_you_mean
from ml_assets.sources.formats import SUFFIXES


@dataclass(frozen=True)
class SourceFiles:
    """Files that become batches.

    Args:
        folder: Where they lie.
        pattern: Regular expression over names with the group `batch`, as the YAML has it.
        batches: Path -> batch, ordered by batch.
        others: Files of the folder that the pattern does not match.
    """

    folder: Path
    pattern: str
    batches: dict[str, str]
    others: int


def find(path: str, base: Path) -> SourceFiles:
    """The files of a folder, one file, or those of a glob.

    Args:
        path: As the user gave it; relative to `base`.
        base: Folder that relative paths start from.

    Raises:
        SourceError: Nothing is there, no format is known, or the files lie in several folders.
    """
    given = base / Path(path).expanduser()
    if given.is_dir():
        files = [file for file in given.iterdir() if file.is_file() and not file.name.startswith(".")]
    elif given.is_file():
        files = [given]
    else:
        anchor = Path(given.anchor)
        files = [file for file in anchor.glob(str(given.relative_to(anchor))) if file.is_file()]
    known = sorted(file for file in files if _extension(file.name))
    if not known:
        raise SourceError(
            "There is nothing to read.",
            found=", ".join(sorted(file.name for file in files)[:5]) or _neighbours(given),
            where={"source": path},
            fix="Name a folder, a file or a glob of: " + ", ".join(sorted(SUFFIXES)) + " (or with .gz, .zst).",
        )
    folders = sorted({file.parent for file in known})
    if len(folders) > 1:
        raise SourceError(
            "The files lie in several folders; a pipeline watches one.",
            found=", ".join(map(str, folders[:5])),
            where={"source": path},
        )
    chosen = _most_common_format(known)
    empty = [file.name for file in chosen if file.stat().st_size == 0]
    if empty:
        raise SourceError("A file is empty (0 bytes).", where={"file": folders[0] / empty[0]}, fix="Remove it.")
    siblings = [entry.name for entry in os.scandir(folders[0]) if entry.is_file() and not entry.name.startswith(".")]
    pattern = name_pattern([file.name for file in chosen], siblings)
    batches = {str(file.resolve()): batch_of(pattern, file.name) for file in chosen}
    others = [name for name in siblings if not re.fullmatch(pattern, name)]
    ordered = dict(sorted(batches.items(), key=lambda item: (item[1], item[0])))
    return SourceFiles(folders[0].resolve(), pattern, ordered, len(others))


def _neighbours(given: Path) -> str:
    if not given.parent.is_dir():
        return f"no folder {given.parent}"
    return f"no {given.name!r}; {did_you_mean(given.name, sorted(e.name for e in os.scandir(given.parent))[:20])}"


def _extension(name: str) -> str:
    """`.csv.gz` of `a.b.csv.gz`; empty where the format is not known."""
    packed = next((suffix for suffix in (".gz", ".zst") if name.endswith(suffix)), "")
    plain = Path(name.removesuffix(packed)).suffix
    return plain + packed if plain.lower() in SUFFIXES else ""


def _most_common_format(files: Sequence[Path]) -> list[Path]:
    extensions = [_extension(file.name) for file in files]
    most = max(sorted(set(extensions)), key=extensions.count)
    return [file for file, extension in zip(files, extensions, strict=True) if extension == most]


def batch_of(pattern: str, name: str) -> str:
    """The batch that a file's name says."""
    match = re.fullmatch(pattern, name)
    return match["batch"] if match else name


def name_pattern(names: Sequence[str], siblings: Sequence[str] = ()) -> str:
    """The regular expression whose group `batch` is the part in which names of one format differ.

    `flights_2013-01.parquet`, `flights_2013-02.parquet` -> `flights_(?P<batch>\\d{4}-\\d{2})\\.parquet`. Of a single
    name the whole stem is the batch, and names that begin like it will be more batches, unless other files in its
    folder (`siblings`) begin like it already.
    """
    extension = _extension(names[0])
    stems = [name.removesuffix(extension) for name in names]
    end = re.escape(extension)
    if len(stems) == 1:
        wide = f"(?P<batch>{_escaped(stems[0])}.*){end}"
        taken = [name for name in siblings if name != names[0] and re.fullmatch(wide, name)]
        return f"(?P<batch>{_escaped(stems[0])}){end}" if taken else wide
    prefix = _prefix(stems)
    suffix = _prefix([stem[len(prefix) :][::-1] for stem in stems])[::-1]
    parts = [stem[len(prefix) : len(stem) - len(suffix)] for stem in stems]
    return f"{_escaped(prefix)}(?P<batch>{_shape(parts)}){_escaped(suffix)}{end}"


def _escaped(text: str) -> str:
    return re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", text)


def _prefix(stems: Sequence[str]) -> str:
    """The common beginning, cut back so that no number, date or word is cut in two."""
    first, last = min(stems), max(stems)
    prefix = first[: next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]
    prefix = re.sub(r"(?<![A-Za-z\d])(\d+[-_.T])*\d*$", "", prefix) if re.search(r"\d[-_.T]?\d*$", prefix) else prefix
    prefix = re.sub(r"\d+$", "", prefix)
    if not all(stem[len(prefix) :][:1].isdigit() for stem in stems):
        prefix = re.sub(r"[A-Za-z]+$", "", prefix)
    return "" if any(len(stem) == len(prefix) for stem in stems) else prefix


def _shape(parts: Sequence[str]) -> str:
    """What the varying parts have in common: digits, letters and separators in one order, else anything."""
    split = [re.findall(r"\d+|[A-Za-z]+|[^A-Za-z\d]+", part) for part in parts]
    kinds = {
        tuple("d" if word[0].isdigit() else "w" if word[0].isalpha() else word for word in words) for words in split
    }
    if len(kinds) != 1:
        return ".+"
    shape = ""
    for words in zip(*split, strict=True):
        lengths = {len(word) for word in words}
        if words[0][0].isdigit():
            fixed = len(lengths) == 1 and (len(words[0]) >= 4 or any(word[0] == "0" for word in words))
            shape += f"\\d{{{len(words[0])}}}" if fixed and len(words[0]) > 1 else r"\d+"
        elif words[0][0].isalpha():
            shape += words[0] if len(set(words)) == 1 else "[A-Za-z]+"
        else:
            shape += _escaped(words[0])
    return shape

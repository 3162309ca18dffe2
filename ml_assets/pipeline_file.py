"""The YAML file of a pipeline before its keys count: text, documents, and the few keys that Dagster itself reads.

Dagster's loader tells none of this in words for people, and never ends on aliases of aliases. So it is checked first,
on the file's syntax tree, where an alias costs nothing.
"""

from __future__ import annotations

import difflib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from dagster.components.core.defs_module import ComponentFileModel
from yaml.reader import Reader

from ml_assets.errors import SpecError, did_you_mean

TYPE = "ml_assets.MLPipeline"
MOST_VALUES = 100_000  # of a document with its aliases written out
MOST_LEVELS = 50
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML has it
STANDARD = "tag:yaml.org,2002:"
KINDS = {yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value", yaml.MappingNode: "a mapping"}
BEGIN = f"Begin it with the keys `type: {TYPE}` and `attributes:`, as `ml-assets init` writes it."
FIXES = {  # a part of the parser's text -> what is nearly always meant
    "tab character": "Indent with spaces.",
    "cannot start any token": "Indent with spaces, not with tabs, and quote a value that begins with @, ` or %.",
    "mapping values are not allowed": "Put a value that holds a colon in quotes.",
    "undefined alias": "Put a value that begins with * in quotes.",
}


def check(file: Path) -> None:
    """Refuse a file that is no YAML of components, or has a key twice in one mapping.

    Raises:
        SpecError: With file and line.
    """
    state = file.stat()
    _check(file, state.st_mtime_ns, state.st_size)


@cache
def _check(file: Path, changed: int, size: int) -> None:  # noqa: ARG001 - checked again when the file has changed
    text = _text(file)
    try:
        _check_levels(file, text)
        documents = list(yaml.compose_all(text, Loader=LOADER))
    except yaml.MarkedYAMLError as error:
        raise _unparsed(file, error) from error
    if not documents:
        raise SpecError("The YAML file is empty.", where={"file": file}, fix=BEGIN)
    for document in documents:
        _Document(file).check(document)


def _text(file: Path) -> str:
    content = file.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError(
            "The YAML file is not UTF-8.",
            found=f"the byte 0x{content[error.start]:02x}",
            where={"file": f"{file}:{line}"},
            fix="Save it as UTF-8.",
        ) from error
    wrong = Reader.NON_PRINTABLE.search(text)
    if wrong:
        line = text.count("\n", 0, wrong.start()) + 1
        found = f"the control character U+{ord(wrong.group()):04X}"
        raise SpecError("YAML takes no control characters.", found=found, where={"file": f"{file}:{line}"})
    return text


def explained(file: Path, error: Exception) -> Exception:
    """What YAML or Python says of a value that `check` does not look at, as our own error; others are left."""
    if isinstance(error, yaml.MarkedYAMLError):
        return _unparsed(file, error)
    if type(error) is ValueError:  # such as a number of 5,000 digits
        return SpecError("The YAML has a value that cannot be read.", found=error, where={"file": file})
    return error


def _unparsed(file: Path, error: yaml.MarkedYAMLError) -> SpecError:
    mark = error.problem_mark or error.context_mark
    return SpecError(
        "The YAML cannot be parsed.",
        found=" ".join(filter(None, (error.problem, error.context))),
        where={"file": f"{file}:{mark.line + 1}" if mark else file},
        fix=next((fix for part, fix in FIXES.items() if part in str(error.problem)), "Correct it, or a line above."),
    )


def _check_levels(file: Path, text: str) -> None:
    """The parser's recursion has no end of its own: the process would crash."""
    level = 0
    for event in yaml.parse(text, Loader=LOADER):
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if level > MOST_LEVELS:
            where = {"file": f"{file}:{event.start_mark.line + 1 if event.start_mark else 1}"}
            raise SpecError(f"The YAML nests more than {MOST_LEVELS} levels.", where=where, fix="Close the brackets.")


class _Document:
    """One document of a file.

    Args:
        file: For the errors.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._sizes: dict[int, int | None] = {}  # node -> values with aliases written out; None while it is counted

    def check(self, root: Any) -> None:
        """Refuse it where it is no component.

        Raises:
            SpecError: With file and line.
        """
        if not isinstance(root, yaml.MappingNode):
            found = repr(root.value[:50]) if isinstance(root, yaml.ScalarNode) else KINDS[type(root)]
            raise self._wrong("The YAML file is no mapping of keys.", root, BEGIN, found)
        if self._size(root) > MOST_VALUES:
            found = f"aliases of aliases, {self._sizes[id(root)]:,} values written out"
            raise self._wrong("The YAML is too large.", root, "Write the values out that you need.", found)
        keys = {key.value: (key, value) for key, value in root.value}
        for name, (key, _) in keys.items():
            if name not in ComponentFileModel.model_fields:
                near = did_you_mean(name, ComponentFileModel.model_fields)
                raise self._wrong(f"There is no key {name!r} beside type and attributes; {near}", key)
        if "type" not in keys:
            raise self._wrong("The YAML has no key 'type'.", root, BEGIN)
        self._check_type(keys["type"][1])
        if "attributes" in keys:
            self._check_attributes(keys["attributes"][1])

    def _check_type(self, node: Any) -> None:
        name = node.value
        if not isinstance(node, yaml.ScalarNode) or node.tag != f"{STANDARD}str":
            raise self._wrong("`type` is the name of a component.", node, f"Write type: {TYPE}.", KINDS[type(node)])
        package = name.split(".")[0]
        is_near = name != TYPE and difflib.get_close_matches(name, [TYPE], cutoff=0.8)
        if is_near and (package == TYPE.split(".")[0] or not importlib.util.find_spec(package)):
            raise self._wrong(f"There is no component {name!r}; {did_you_mean(name, [TYPE])}", node)

    def _check_attributes(self, node: Any) -> None:
        if isinstance(node, yaml.ScalarNode) and node.tag == f"{STANDARD}null":
            return  # the component says what is missing
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong("`attributes` is no mapping of keys.", node, found=KINDS[type(node)])
        for key, _ in node.value:
            if key.tag not in (f"{STANDARD}str", f"{STANDARD}merge"):
                raise self._wrong("A key of `attributes` is no text.", key, "Put it in quotes.", key.value)

    def _size(self, node: Any) -> int:
        """How many values it has, with aliases written out; wrong tags, keys and loops are refused on the way."""
        if id(node) in self._sizes:
            known = self._sizes[id(node)]
            if known is None:
                raise self._wrong("An alias stands for what it is in itself.", node, "Write the value out.")
            return known
        if not node.tag.startswith(STANDARD) or "/" in node.tag:
            shown = node.tag.removeprefix(STANDARD)
            raise self._wrong("A tag has no meaning here.", node, "Remove it, or quote the text.", shown)
        self._sizes[id(node)] = None
        inner = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            inner = [part for pair in node.value for part in pair]
        self._sizes[id(node)] = size = 1 + sum(self._size(one) for one in inner)
        return size

    def _check_keys(self, mapping: Any) -> None:
        """YAML keeps the last of two equal keys in silence; that is nearly always a mistake."""
        seen: dict[str, int] = {}
        for key, _ in mapping.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._wrong("A key is no single value.", key, found=KINDS[type(key)])
            line = key.start_mark.line + 1
            if key.value in seen:
                rule = f"The key {key.value!r} appears twice in one mapping."
                raise self._wrong(rule, key, "Remove one of them.", f"lines {seen[key.value]} and {line}")
            seen[key.value] = line

    def _wrong(self, rule: str, node: Any, fix: str | None = None, found: object = None) -> SpecError:
        return SpecError(rule, found=found, where={"file": f"{self.file}:{node.start_mark.line + 1}"}, fix=fix)

"""The reference pages that are made from code: commands, Python API, errors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from itertools import takewhile

import click

import ml_assets
from ml_assets import errors
from ml_assets.cli import main

COMMANDS_HEAD = """# Commands

`ml-assets COMMAND --help` prints the same texts; `make fix` generates this page from them. How the commands work
together, Dagster's own commands and completion in the shell: [Running](running.md).
"""
PYTHON_HEAD = """# The Python API

What `import ml_assets` offers. Everything else is internal and may change. `make fix` generates this page from the
docstrings.

```python
from ml_assets import open_lake

open_lake().table("flights.predictions", batches=["2013-11"]).df()
```

How to subclass `MLPipeline` and to use `LakeIOManager`: [Extending a pipeline](../how-to/extend.md). The lake's SQL is
that of DuckDB; [Tables](tables.md) lists every table.
"""
ERRORS_HEAD = """# Errors

A mistake that you can fix ends with an error of this form, in the terminal, in the run's log and in the Dagster UI:

```
The rule, or what went wrong.
  found: what was there instead
  where: pipeline flights, batch 2013-11, file flights_2013-11.csv
  next:  the next step
```

Commands print it and exit with 1. In Python, every one of these errors is an `MLAssetsError` (module
`ml_assets.errors`) with the attributes `rule`, `found`, `where` and `fix`. Any other exception with a traceback is a
bug of ml_assets. [Troubleshooting](../troubleshooting.md) goes through the frequent ones.
`make fix` generates this page.
"""


def commands_page() -> str:
    """Every command with its arguments and options."""
    with click.Context(main, info_name="ml-assets") as context:
        return "\n".join([COMMANDS_HEAD, *described(main, context)])


def described(group: click.Group, context: click.Context) -> Iterator[str]:
    """The commands of a group, depth first."""
    for name in group.list_commands(context):
        if not (command := group.get_command(context, name)):
            continue
        with click.Context(command, info_name=name, parent=context) as inner:
            if isinstance(command, click.Group):
                yield from described(command, inner)
            else:
                yield command_text(command, inner)


def command_text(command: click.Command, context: click.Context) -> str:
    """A command: how it is called, what it does, its options."""
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"## {context.command_path}\n", f"`{context.command_path} {usage}`\n", f"{plain(command.help or '')}\n"]
    options = [one for one in command.get_params(context) if isinstance(one, click.Option) and "--help" not in one.opts]
    if options:
        lines += ["| option | meaning |", "|---|---|", *(option_row(one) for one in options), ""]
    return "\n".join(lines)


def option_row(option: click.Option) -> str:
    """An option as a row of a table."""
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    meaning = plain(option.help or "").replace("|", r"\|").replace("\n", " ")
    return f"| {names} | {meaning}{' Required.' if option.required else ''} |"


def plain(text: str) -> str:
    """A docstring without the marks of click's own wrapping."""
    return inspect.cleandoc(text.replace("\b", "")).strip()


def python_page() -> str:
    """The public names with their signatures and docstrings."""
    names = [name for name in ml_assets.__all__ if not name.startswith("_")]
    return "\n".join([PYTHON_HEAD, *(public(name, getattr(ml_assets, name)) for name in sorted(names))])


def public(name: str, thing: object) -> str:
    """A public function with its signature, or a class."""
    call = [] if inspect.isclass(thing) else [f"```python\n{signature(name, thing)}\n```\n"]
    return "\n".join([f"## {name}\n", *call, docstring(thing)])


def signature(name: str, function: object) -> str:
    """How it is called, with types by their last names."""
    return name + re.sub(r"[\w.]+\.(?=[A-Z])", "", str(inspect.signature(function)).replace("'", ""))  # type: ignore[arg-type]


def docstring(thing: object) -> str:
    """A docstring, its Google sections as lists."""
    text = inspect.getdoc(thing) or ""
    text = re.sub(r"^(Args|Raises):\n((?:    .*\n?)+)", lambda found: section(found[1], found[2]), text, flags=re.M)
    example = r"^Example:\n((?:    .*\n?)+)"
    text = re.sub(example, lambda found: f"Example: {inspect.cleandoc(found[1])}\n", text, flags=re.M)
    return text + "\n"


def section(title: str, body: str) -> str:
    """Entries such as `name: meaning` as a list."""
    entries = re.findall(r"^(\w+): (.*(?:\n {2,}.*)*)", inspect.cleandoc(body), flags=re.M)
    title = {"Args": "Arguments"}.get(title, title)
    return f"{title}:\n\n" + "\n".join(f"- `{name}`: {' '.join(text.split())}" for name, text in entries) + "\n"


def errors_page() -> str:
    """The tree of errors, as drawn in its module."""
    lines = (errors.__doc__ or "").splitlines()[2:]
    tree = "\n".join(takewhile(bool, lines))
    return f"{ERRORS_HEAD}\n## The tree\n\n```\n{tree}\n```\n"

"""`ml-assets key`: a new API key for the server."""

from __future__ import annotations

import click

SCOPES = ("predict", "feedback", "admin", "approve")


@click.command(short_help="Print a new API key for the server.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    default=("predict",),
    show_default=True,
    help="What the key allows; may be repeated.",
)
@click.option("--name", default="", help="Whose key it is, for the people who read the file.")
def key(scopes: tuple[str, ...], name: str) -> None:
    """Print a new API key, and the line by which a server knows it. The key is shown this once."""
    from ml_assets.server.keys import ENV_KEYS, new_key

    if ";" in name or not name.isprintable():
        raise click.BadParameter(
            "it ends up in a line of keys, so it has neither ; nor a line break.", param_hint="--name"
        )
    secret, line = new_key(scopes, name)
    click.echo(f"key   {secret}")
    click.echo(f"line  {line}")
    click.echo(
        f"Put the line into ${ENV_KEYS} or the file of --keys; clients send `Authorization: Bearer KEY`.", err=True
    )

"""`sereno web`: tokens for the people and programs of [web.principals]."""

import re
from typing import Annotated

import typer

from daemon.cli.command_group import CommandGroup
from daemon.cli.options import fail
from daemon.exit_codes import Exit

app = typer.Typer(
    cls=CommandGroup,
    help="The HTTP interface: tokens of those who may use it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Keep `token` a command of its own."""


@app.command("token")
def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The principal, like ana.")],
) -> None:
    """Make a token for a principal; it is shown once, the configuration keeps only its hash."""
    from daemon.principals import make_token

    if not re.fullmatch(r"[A-Za-z0-9_.@-]{1,63}", name) or name == "local":
        fail(f"{name!r}: a name has 1 to 63 of A-Z a-z 0-9 _ . @ -, and is not local", Exit.CANNOT)
    made, digest = make_token()
    quoted = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'
    typer.echo(made)
    typer.echo("Keep it in a password manager: it is not shown again. In config.toml:", err=True)
    typer.echo(f"[web.principals.{quoted}]", err=True)
    typer.echo(f'token_sha256 = "{digest}"', err=True)
    typer.echo('may = ["read", "operate", "acknowledge"]', err=True)

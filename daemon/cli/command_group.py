"""A group of commands that names the nearest one for an unknown name."""

from typing import Any

from typer.core import TyperGroup

from daemon.cli.options import unknown_name


class CommandGroup(TyperGroup):
    """A group whose error for an unknown command names the nearest known one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own copy of click
        """Return the command of the first argument. Raises a usage error."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(unknown_name("command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)

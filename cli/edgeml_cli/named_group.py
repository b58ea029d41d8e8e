"""A group of commands that answers a wrong name with the nearest right one."""

from __future__ import annotations

from difflib import get_close_matches

import click

__all__ = ["NamedGroup"]


class NamedGroup(click.Group):
    """A group whose commands are known by :meth:`list_commands`, in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order in which they were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and name the nearest one where there is none of that name."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            near = get_close_matches(args[0], names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the commands are {', '.join(names)}."
            raise click.UsageError(f"no command {args[0]!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

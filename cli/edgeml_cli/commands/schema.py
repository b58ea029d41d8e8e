"""``edgeml schema``: the JSON Schema of edgeml.toml."""

from __future__ import annotations

import json

import click

from edgeml_cli.session import Session, common_options

__all__ = ["command"]


@click.command()
@common_options
@click.pass_obj
def command(session: Session) -> int:
    """Print the JSON Schema of edgeml.toml.

    For editors; `edgeml init` writes it beside the project, where the first line of edgeml.toml names it.
    """
    from edgeml_train.contract_schema import contract_json_schema
    from edgeml_train.settings import train_schema

    schema = contract_json_schema(train=train_schema())
    click.echo(json.dumps(schema, ensure_ascii=False, indent=None if session.as_json else 2))
    return 0

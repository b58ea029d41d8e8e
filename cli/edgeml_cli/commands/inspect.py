"""``edgeml inspect``: what a bundle holds, and whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml_cli.session import Session, common_options

if TYPE_CHECKING:
    from rich.console import Console

    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.manifest import Manifest

__all__ = ["command"]


@click.command()
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@common_options
@click.pass_obj
def command(session: Session, bundle: Path) -> int:
    """Show what a bundle holds, and verify it.

    Contract, variants, metrics, slices and files of BUNDLE. Every file in it is read and checked against its size
    and sha256; a bundle that does not hold together exits 2.
    """
    from edgeml_cli.inspect_view import render_bundle
    from edgeml_cli.output import emit
    from edgeml_runtime.bundle import Bundle

    with Bundle.open(str(bundle)) as opened:
        opened.verify()
        report = _as_dict(opened, opened.manifest)

    def render(console: Console) -> None:
        render_bundle(console, report)

    emit(session, report, render)
    return 0


def _as_dict(opened: Bundle, manifest: Manifest) -> dict[str, Any]:
    sizes = {member.name: member for member in manifest.members}
    return {
        "bundle": str(Path(opened.path).resolve()),
        "bytes": opened.size_bytes,
        "name": manifest.name,
        "version": manifest.version,
        "contract": manifest.contract,
        "contract_sha256": manifest.contract_sha256,
        "variants": [
            {
                "id": variant.id,
                "file": variant.file,
                "bytes": sizes[variant.file].size_bytes,
                "sha256": sizes[variant.file].sha256,
                "weight_bytes": variant.weight_bytes,
                "backend": variant.backend,
                "min_backend_version": variant.min_backend_version,
                "requires_isa": variant.requires_isa,
                "metrics": variant.metrics,
                "parity": variant.parity,
            }
            for variant in manifest.variants
        ],
        "members": [
            {"name": member.name, "bytes": member.size_bytes, "sha256": member.sha256} for member in manifest.members
        ],
        "verified": True,
    }

"""Module paths of the fused model: which part of it an operator of an exported graph comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

__all__ = ["ModuleScopes", "within"]

# MLIR makes repeated names unique with a counter behind the semicolon that ends each of them.
_COUNTER = re.compile(r"^\d+$")


def within(path: str, scopes: Iterable[str]) -> bool:
    """Whether a module path lies in one of the scopes.

    Args:
        path: Dotted path, such as ``"features.mel"``.
        scopes: Dotted paths.

    Returns:
        True for a scope itself and for everything below it.
    """
    return any(path == scope or path.startswith(f"{scope}.") for scope in scopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleScopes:
    """Finds module paths in the names that litert-torch gives to tensors.

    Such a name is the chain of modules that were being called, each as ``CLASS_ATTRIBUTE`` with the full name of its
    class, such as ``app.Fused/torch.nn.modules.linear.Linear_head;3``. A module that only holds others and is never
    called itself, like ``ModuleList``, is missing from the chain.

    Attributes:
        labels: Dotted path of every module of the fused model → its link in such a chain; ``""`` is the model itself.
        float_scopes: Dotted paths whose operators stay float in quantized variants.
    """

    labels: dict[str, str]
    float_scopes: tuple[str, ...]

    @classmethod
    def of(cls, wrapper: nn.Module, float_scopes: Sequence[str]) -> ModuleScopes:
        """Collect the modules of a model.

        Args:
            wrapper: The module that is traced, with the fused model as its only child.
            float_scopes: Dotted module paths inside it.

        Returns:
            The scopes.

        Raises:
            ProjectError: When the model has no module at one of the paths.
        """
        labels = {}
        for path, module in wrapper.named_modules(remove_duplicate=False):
            if path:
                kind = type(module)
                labels[path.partition(".")[2]] = f"{kind.__module__}.{kind.__qualname__}_{path.rpartition('.')[2]}"
        for scope in float_scopes:
            if scope not in labels or not scope:
                known = ", ".join(path for path in labels if path and "." not in path)
                raise ProjectError(
                    "edgeml.toml: export.float_scopes: expected dotted paths of modules inside the fused model, whose "
                    f"parts are {known}; found {scope!r}"
                )
        return cls(labels=labels, float_scopes=tuple(float_scopes))

    def ordered_paths(self, name: str) -> list[str]:
        """The modules that a tensor's name may stand for, in the order of the name.

        Args:
            name: Name of a tensor as litert-torch writes it; several chains, each ended by ``;``, where operators were
                fused.

        Returns:
            Dotted paths, some perhaps more than once: none where the name says nothing, several where a chain fits
            several modules.
        """
        return [path for fitting in self._chains(name) for path in fitting]

    def is_float(self, name: str) -> bool | None:
        """Whether a tensor's name lies in a float scope.

        The name of a fused operator lists what was fused, the operator that computes at the end; before it stand
        activations, and constants that modules share.

        Args:
            name: Name of a tensor as for :meth:`ordered_paths`.

        Returns:
            True or False, or None where the name says nothing.

        Raises:
            ProjectError: When the name fits modules inside and outside of the float scopes.
        """
        last = next((fitting for fitting in reversed(self._chains(name)) if fitting), [])
        answers = {within(path, self.float_scopes): path for path in sorted(last)}
        if len(answers) == 2:
            raise ProjectError(
                f"export.float_scopes: cannot tell whether an operator belongs to {answers[True]!r}, which stays "
                f"float, or to {answers[False]!r}, which does not; give one of them another attribute name or class"
            )
        return next(iter(answers), None)

    def _chains(self, name: str) -> list[list[str]]:
        """For each chain of a name the modules that it fits."""
        chains = [part.strip() for part in name.split(";")]
        return [self._fitting(chain.split("/")) for chain in chains if chain and not _COUNTER.match(chain)]

    def _fitting(self, chain: Sequence[str]) -> list[str]:
        return [path for path, label in self.labels.items() if label == chain[-1] and self._links(path, chain[1:-1])]

    def _links(self, path: str, chain: Sequence[str]) -> bool:
        """Whether the links occur in this order among the module's ancestors."""
        parts = path.split(".") if path else []
        ancestors = iter([self.labels[".".join(parts[:depth])] for depth in range(len(parts))])
        return all(link in ancestors for link in chain)

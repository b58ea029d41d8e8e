"""Whether every class is in every part of a split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_runtime.errors import ProjectError
from edgeml_train.data.files import Part, name_some

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["check_classes"]


def check_classes(
    source: str,
    counts: Mapping[tuple[int, Part], int],
    labels: Sequence[str],
    *,
    items: str,
    remedy: str,
    exempt: Collection[tuple[int, Part]] = (),
) -> None:
    """Refuse a split in which a class is missing from a part, as one with a single item is.

    Args:
        source: The data set, for the message.
        counts: Class index and part → number of items; 0 where it is not given.
        labels: Name of every class.
        items: What is counted, such as ``"images"``.
        remedy: What to do, as a sentence.
        exempt: Class and part that may be without items.

    Raises:
        ProjectError: When a class lacks items in a part; the message names it with its counts.
    """
    lacking = [
        target
        for target in range(len(labels))
        if any(not counts.get((target, part), 0) and (target, part) not in exempt for part in Part)
    ]
    if lacking:
        table = [f"{labels[t]} ({' / '.join(str(counts.get((t, part), 0)) for part in Part)})" for t in lacking]
        raise ProjectError(
            f"{source}: expected every class in train, validation and test, found {len(lacking)} of {len(labels)} "
            f"classes lacking in one, by number of {items}: {name_some(table)}. {remedy}"
        )

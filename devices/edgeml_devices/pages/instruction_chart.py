"""Bars of instructions by class: one for each variant, one for each layer."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from edgeml_devices.emulator.classes import CLASS_TITLES, ClassCounts
from edgeml_devices.pages.counted import by_format, rest_of
from edgeml_devices.reports.words import count_text
from edgeml_pages import Bar, Html, figure, legend, stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeml_devices.pages.counted import CountedBench, CountedVariant

__all__ = ["REST", "class_legend", "layer_figure", "ratio_text", "variants_figure"]

REST = "runtime and call"
"""What belongs to no layer."""


def class_legend(counts: Iterable[ClassCounts]) -> str:
    """The colours of those classes that there are any of.

    Args:
        counts: All that is drawn.
    """
    seen = sum(counts, start=ClassCounts()).values()
    keys = [
        Html(text=f'<span class="key k{number}"></span>{escape(title)}')
        for number, (title, count) in enumerate(zip(CLASS_TITLES.values(), seen, strict=True), start=1)
        if count
    ]
    return legend(*keys)


def ratio_text(variant: CountedVariant, group: Sequence[CountedVariant]) -> str:
    """Instructions of a variant ÷ those of the one in floats of its format; empty where there is no such one.

    Args:
        variant: One of the group.
        group: All of its format.
    """
    reference = next((one for one in group if one.is_reference), None)
    if reference is None or variant is reference:
        return ""
    return f"{variant.counts.total / reference.counts.total:.2f} × {reference.name}"


def variants_figure(bench: CountedBench, most: int) -> str:
    """One bar for each variant, those of one format together.

    Args:
        bench: With variants.
        most: Instructions of a bar over the whole width.
    """
    when = "" if bench.when is None else f", earlier result, {bench.when}"
    rows = [_variant(one, group, most) for group in by_format(bench.variants) for one in group]
    return figure(f"{bench.device}, {bench.cpu}{when}", *rows)


def _variant(variant: CountedVariant, group: Sequence[CountedVariant], most: int) -> str:
    said, ratio = _classes(variant.counts), ratio_text(variant, group)
    amount = f"{count_text(variant.counts.total)}{f' = {ratio}' if ratio else ''}"
    return (
        f'<div class="stacked"><span><code>{escape(variant.name)}</code></span>'
        f'<span class="amount">{escape(amount)}</span>{_bar(f"{variant.name}: {said}", variant.counts, most)}'
        f'<span class="told">{escape(said)}</span></div>'
    )


def layer_figure(variant: CountedVariant, most: int, group: str) -> str:
    """One bar for each layer in the order of execution, and one for what belongs to none.

    Each can be picked with pointer, finger or keyboard, and then shows its numbers; the browser's own buttons do that.

    Args:
        variant: One with layers.
        most: Instructions of a bar over the whole width.
        group: What these buttons are called within the page.
    """
    rows = [_layer(one.type, one.name, one.counts, most, group) for one in variant.layers]
    rows.append(_layer(REST, "", rest_of(variant), most, group))
    caption = f"{variant.name}: {count_text(variant.counts.total)} in {len(variant.layers)} layers"
    label = escape(f"Layers of {variant.name}")
    return figure(caption, f'<div role="radiogroup" aria-label="{label}">', *rows, "</div>")


def _layer(type_: str, name: str, counts: ClassCounts, most: int, group: str) -> str:
    said, whole = _classes(counts), f"{type_} {name}".rstrip()
    # Both may be too long for the place: of the name the end is shown, by which layers of one block are told apart.
    shown = f' <span class="tail muted"><bdi>{escape(name)}</bdi></span>' if name else ""
    return (
        f'<label class="pick"><input type="radio" name="{escape(group)}"/>'
        f'<span class="name" title="{escape(whole)}"><span>{escape(type_)}</span>{shown}</span>'
        f'{_bar(f"{whole}: {said}", counts, most)}<span class="amount">{count_text(counts.total)}</span>'
        f'<span class="told" aria-hidden="true">{escape(whole)}: {escape(said)}</span></label>'
    )


def _bar(title: str, counts: ClassCounts, most: int) -> str:
    parts = enumerate(counts.values(), start=1)
    return stack(title, [Bar(share=count / max(1, most), style=f"k{number}") for number, count in parts])


def _classes(counts: ClassCounts) -> str:
    """All classes that there are any of, with their numbers."""
    named = zip(CLASS_TITLES.values(), counts.values(), strict=True)
    return ", ".join(f"{title} {count_text(count)}" for title, count in named if count) or "none"

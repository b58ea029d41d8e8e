"""Pages in one file: frame, tables and charts as HTML and SVG that load nothing and run nothing."""

from edgeml_pages.charts import Bar, bars, gauge, stack
from edgeml_pages.frame import (
    Cell,
    Html,
    code,
    document,
    escaped,
    figure,
    folded,
    gallery,
    judged,
    legend,
    section,
    size_text,
    table,
    tag,
    xml_text,
    yes_no,
)
from edgeml_pages.plot import STYLES, Plot
from edgeml_pages.scale import Scale

__all__ = [
    "STYLES",
    "Bar",
    "Cell",
    "Html",
    "Plot",
    "Scale",
    "bars",
    "code",
    "document",
    "escaped",
    "figure",
    "folded",
    "gallery",
    "gauge",
    "judged",
    "legend",
    "section",
    "size_text",
    "stack",
    "table",
    "tag",
    "xml_text",
    "yes_no",
]

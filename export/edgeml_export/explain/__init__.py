"""An export explained: a page with tables and charts, in one file that loads nothing."""

from edgeml_export.explain.document import explain_html, write_explanation

__all__ = ["explain_html", "write_explanation"]

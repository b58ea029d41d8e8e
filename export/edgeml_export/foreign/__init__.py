"""Models that were made elsewhere, wrapped into bundles with the checks that our own variants get."""

from edgeml_export.foreign.data import ForeignData, load_foreign_data
from edgeml_export.foreign.file import ForeignLimits
from edgeml_export.foreign.report import ForeignReport, UnscoredReport
from edgeml_export.foreign.wrap import export_foreign

__all__ = [
    "ForeignData",
    "ForeignLimits",
    "ForeignReport",
    "UnscoredReport",
    "export_foreign",
    "load_foreign_data",
]

"""A bench written down: JSON with every sample, JUnit XML for a CI system, Markdown for a pull request, a page."""

from edgeml_devices.reports.history import History, read_history
from edgeml_devices.reports.record import BenchRecord, TargetBench, make_record
from edgeml_devices.reports.subject import Subject, read_subject
from edgeml_devices.reports.write import FORMATS, check_report_path, report_text, write_report

__all__ = [
    "FORMATS",
    "BenchRecord",
    "History",
    "Subject",
    "TargetBench",
    "check_report_path",
    "make_record",
    "read_history",
    "read_subject",
    "report_text",
    "write_report",
]

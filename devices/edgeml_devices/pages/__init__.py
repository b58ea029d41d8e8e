"""A bench on one page: tables and charts, in one file that loads nothing."""

from edgeml_devices.pages.page import bench_page

__all__ = ["bench_page"]

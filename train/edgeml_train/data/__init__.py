"""Data sets of the templates."""

from edgeml_train.data.fsdd import Recording, find_recordings, load_recordings
from edgeml_train.data.handwritten import handwritten_digits, write_pngs
from edgeml_train.data.stratified import stratified_parts

__all__ = [
    "Recording",
    "find_recordings",
    "handwritten_digits",
    "load_recordings",
    "stratified_parts",
    "write_pngs",
]

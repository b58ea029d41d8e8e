"""Data sets: those of the templates, and public ones in their published formats (docs/datasets.md)."""

from edgeml_train.data.cifar10 import CIFAR10_LABELS, load_cifar10
from edgeml_train.data.dcase_machines import find_machine_sounds
from edgeml_train.data.files import LabelledFile, LoadedFiles, Part, cut_windows, load_files, load_splits, part_by_hash
from edgeml_train.data.fsdd import Recording, find_recordings
from edgeml_train.data.grouped import grouped_parts
from edgeml_train.data.handwritten import handwritten_digits, write_pngs
from edgeml_train.data.image_folders import find_images
from edgeml_train.data.series import load_series
from edgeml_train.data.series_file import Event, Series, find_series, read_series
from edgeml_train.data.sign_digits import find_photographs, load_photographs, split_students
from edgeml_train.data.speech_commands import SPEECH_COMMANDS_12, find_speech_commands
from edgeml_train.data.stratified import stratified_parts
from edgeml_train.data.table import load_table

__all__ = [
    "CIFAR10_LABELS",
    "SPEECH_COMMANDS_12",
    "Event",
    "LabelledFile",
    "LoadedFiles",
    "Part",
    "Recording",
    "Series",
    "cut_windows",
    "find_images",
    "find_machine_sounds",
    "find_photographs",
    "find_recordings",
    "find_series",
    "find_speech_commands",
    "grouped_parts",
    "handwritten_digits",
    "load_cifar10",
    "load_files",
    "load_photographs",
    "load_series",
    "load_splits",
    "load_table",
    "part_by_hash",
    "read_series",
    "split_students",
    "stratified_parts",
    "write_pngs",
]

"""Feature pipelines: modules with ``fit`` and ``forward`` that travel inside the exported graph (docs/features.md)."""

from edgeml_train.features.base import FeaturePipeline
from edgeml_train.features.cepstra import Cepstra
from edgeml_train.features.chain import Chain
from edgeml_train.features.function import Function
from edgeml_train.features.image import ImageFeatures
from edgeml_train.features.join import Join
from edgeml_train.features.log_mel import LogMel
from edgeml_train.features.one_hot import OneHot
from edgeml_train.features.relative import Relative
from edgeml_train.features.standardise import Fill, Standardise
from edgeml_train.features.window import Window

__all__ = [
    "Cepstra",
    "Chain",
    "FeaturePipeline",
    "Fill",
    "Function",
    "ImageFeatures",
    "Join",
    "LogMel",
    "OneHot",
    "Relative",
    "Standardise",
    "Window",
]

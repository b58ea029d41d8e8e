"""Quantization-aware training: a trained run is trained on with the rounding of its int8 variants."""

from edgeml_train.qat.report import QatReport, QatRow, Stage

__all__ = ["QatReport", "QatRow", "Stage"]

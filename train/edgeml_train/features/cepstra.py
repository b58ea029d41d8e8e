"""Cepstral coefficients: the spectrum of a log-mel spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.features.base import FeaturePipeline

if TYPE_CHECKING:
    from edgeml_train.features.base import Inputs

__all__ = ["Cepstra"]


class Cepstra(FeaturePipeline):
    """The first coefficients of an orthonormal DCT-II over the mel bands; behind ``LogMel`` they are MFCC.

    The same as ``scipy.fft.dct(log_mel, norm="ortho")[..., :coefficients]`` (Davis and Mermelstein, "Comparison of
    Parametric Representations for Monosyllabic Word Recognition", 1980).

    Args:
        mels: Mel bands.
        coefficients: How many to keep, at most as many as there are bands.

    Raises:
        ProjectError: There are not so many.
    """

    def __init__(self, *, mels: int, coefficients: int) -> None:
        super().__init__()
        if not 0 < coefficients <= mels:
            raise ProjectError(f"Cepstra: expected from 1 to {mels} coefficients of {mels} bands, found {coefficients}")
        angles = np.pi / mels * np.outer(np.arange(mels) + 0.5, np.arange(coefficients))
        basis = np.cos(angles) * np.sqrt(2 / mels)
        basis[:, 0] /= np.sqrt(2)
        self.register_buffer("basis", torch.tensor(basis, dtype=torch.float32))
        self.basis: torch.Tensor

    def fit(self, inputs: Inputs) -> None:
        """Learn nothing."""

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Transform.

        Args:
            log_mel: float32 [b, …, mels].

        Returns:
            float32 [b, …, coefficients].
        """
        return torch.matmul(log_mel, self.basis)

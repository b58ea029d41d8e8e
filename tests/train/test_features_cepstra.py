"""Cepstral coefficients against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.features import Cepstra


@pytest.mark.parametrize(("mels", "coefficients"), [(40, 10), (13, 13), (5, 1)])
def test_cepstra_are_an_orthonormal_dct(mels, coefficients):
    log_mel = np.random.default_rng(0).normal(size=(2, 1, 49, mels)).astype(np.float32)
    ours = Cepstra(mels=mels, coefficients=coefficients)(torch.from_numpy(log_mel)).numpy()
    np.testing.assert_allclose(ours, scipy.fft.dct(log_mel, norm="ortho")[..., :coefficients], atol=1e-5)


@pytest.mark.parametrize("coefficients", [0, 41])
def test_more_coefficients_than_bands_are_refused(coefficients):
    with pytest.raises(ProjectError, match=f"from 1 to 40 coefficients of 40 bands, found {coefficients}"):
        Cepstra(mels=40, coefficients=coefficients)

"""An autoencoder that scores: how badly it rebuilds its input, and how far out the code lies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ReconstructionScore", "ScoringAutoencoder"]


class ReconstructionScore(nn.Module):
    """The score of an item from what went in, what came out, and the code between.

    The squared error of the input in units of ``variance``, plus the squared length of the code, both divided by the
    number of columns. That is, but for constants, the negative log-likelihood of input and code together where the
    decoder's error is normal with that variance and codes are standard normal (Kingma and Welling, "Auto-encoding
    variational Bayes", 2014, arXiv:1312.6114). The first term finds what has another shape than anything known, the
    second what has a known shape but lies far out.

    Args:
        variance: Of the decoder's error, in the square of the input's unit.
    """

    def __init__(self, variance: float = 1.0) -> None:
        super().__init__()
        self.variance = variance

    def forward(self, features: Tensor, rebuilt: Tensor, code: Tensor | None = None) -> Tensor:
        """Score.

        Args:
            features: float32 [b, columns].
            rebuilt: float32 [b, columns].
            code: float32 [b, codes], or None to score the error alone.

        Returns:
            float32 [b, 1], 0 at least.
        """
        total = (rebuilt - features).square().sum(dim=1, keepdim=True) / self.variance
        if code is not None:
            total = total + code.square().sum(dim=1, keepdim=True)
        return total / features.shape[1]


class ScoringAutoencoder(nn.Module):
    """Dense autoencoder with one hidden layer on either side of the code.

    In training, standard normal noise on the code keeps it from storing what it should generalise: a variational
    autoencoder whose posterior has a fixed variance of 1. Afterwards it is deterministic.

    Args:
        columns: Width of the input.
        hidden: Width of the hidden layers.
        codes: Width of the code.
        variance: As for :class:`ReconstructionScore`.

    Attributes:
        score: The last step, which an int8 model keeps in float (``network.score`` in ``export.float_scopes``): squares
            span too many orders of magnitude for 8 bits.
    """

    def __init__(self, columns: int, *, hidden: int = 32, codes: int = 8, variance: float = 3.0) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(columns, hidden), nn.ReLU(), nn.Linear(hidden, codes))
        self.decoder = nn.Sequential(nn.Linear(codes, hidden), nn.ReLU(), nn.Linear(hidden, columns))
        self.score = ReconstructionScore(variance)

    def forward(self, features: Tensor) -> Tensor:
        """Score.

        Args:
            features: float32 [b, columns].

        Returns:
            float32 [b, 1]: larger the more unusual an item is, 0 at least.
        """
        code = self.encoder(features)
        noisy = code + torch.randn_like(code) if self.training else code
        score: Tensor = self.score(features, self.decoder(noisy), code)
        return score

"""Augmentation of tables: values go missing and categories become unknown, as they will on a device."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edgeml_runtime.errors import ProjectError

__all__ = ["TableAugmentation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableAugmentation:
    """Take away single values of training items.

    Without this the weights of a bin "unknown" would stay as they were drawn wherever the training split knows every
    category. Replacing inputs by the unknown symbol at random in training is word dropout as of Kiperwasser and
    Goldberg ("Simple and accurate dependency parsing using bidirectional LSTM feature representations", TACL 4, 2016),
    who do it the more often the rarer the word; here every value has the same chance.

    Attributes:
        missing_share: Share of the numbers that become NaN.
        unknown_share: Share of the categories that become -1.

    Raises:
        ProjectError: A share is not from 0 to below 1.
    """

    missing_share: float = 0.01
    unknown_share: float = 0.05

    def __post_init__(self) -> None:
        for name in ("missing_share", "unknown_share"):
            value = getattr(self, name)
            if not 0.0 <= value < 1.0:
                raise ProjectError(f"TableAugmentation: expected {name} from 0 to below 1, found {value}")

    def inputs(self, inputs: tuple[torch.Tensor, ...], generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """Take away values.

        Args:
            inputs: float32 [b, n] numbers or integer [b, m] categories, in any order.
            generator: Where every random number comes from.

        Returns:
            The same shapes and dtypes.
        """
        return tuple(self._reduced(values, generator) for values in inputs)

    def features(self, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Leave the features as they are.

        Args:
            features: What the feature pipeline made.
            generator: Not used.

        Returns:
            The same tensor.
        """
        return features

    def _reduced(self, values: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        number = values.is_floating_point()
        share = self.missing_share if number else self.unknown_share
        taken = torch.rand(values.shape, generator=generator) < share
        return values.masked_fill(taken, torch.nan if number else -1)

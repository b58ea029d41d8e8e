"""The task: where the data come from and what is trained on them."""

from torch import nn

from edgeml_train import Splits, Task
from edgeml_train.data import load_series
from edgeml_train.features import FeaturePipeline, Relative
from edgeml_train.networks import ScoringAutoencoder

WINDOW, BLOCK = 96, 4


class MachineTemperature(Task):
    """How unusual the last hours of a machine are, learned from hours in which it was well."""

    def splits(self) -> Splits:
        """Every series by time: its first part trains, the next one validates, the rest tests."""
        return load_series(self.path("path"), self.contract, self.data)

    def features(self) -> FeaturePipeline:
        """Becomes part of the exported model: mean and spread of every 20 minutes, relative to the machine's own."""
        return Relative(length=WINDOW, block=BLOCK)

    def network(self) -> nn.Module:
        """An autoencoder that gives its own score; the threshold is divided out behind it."""
        return ScoringAutoencoder(2 * WINDOW // BLOCK)

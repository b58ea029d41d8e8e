"""The task: where the data come from and what is trained on them."""

from torch import nn

from edgeml_train import Splits, Task
from edgeml_train.augment import Augmentation
from edgeml_train.augment_table import TableAugmentation
from edgeml_train.data import load_table
from edgeml_train.features import FeaturePipeline, Fill, Join, OneHot, Standardise
from edgeml_train.networks import mlp


class SensorTable(Task):
    """Numeric and categorical columns of a table, with missing values."""

    table = True

    def splits(self) -> Splits:
        """60 % for training, 15 % for validation, 25 % for the test: by group, by time, or at random by class."""
        return load_table(self.path("path"), self.contract, self.data)

    def features(self) -> FeaturePipeline:
        """Becomes part of the exported model: one input with numbers, one with categories, whichever there are."""
        pipelines: dict[str, FeaturePipeline] = {}
        for spec in self.contract.inputs:
            if spec.dtype.value == "float32":
                pipelines[spec.name] = Standardise(columns=spec.shape[0], fill=Fill.MEDIAN)
            else:
                pipelines[spec.name] = OneHot(self._sizes())
        return Join(pipelines)

    def network(self) -> nn.Module:
        """Two small hidden layers; one logit per class out, or the value."""
        bins = sum(size + 1 for size in self._sizes())
        return mlp(len(self.data.get("numbers", [])) + bins, self.contract.outputs[0].shape[0])

    def augment(self) -> Augmentation:
        """Values that go missing, in training only, so that the model has met what a device may lack."""
        return TableAugmentation()

    def _sizes(self) -> list[int]:
        return [len(listed) for listed in self.data.get("categories", {}).values()]

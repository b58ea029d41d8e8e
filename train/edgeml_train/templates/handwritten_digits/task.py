"""The task: where the data come from and what is trained on them."""

from torch import nn

from edgeml_train import Splits, Task
from edgeml_train.data import handwritten_digits, stratified_parts, write_pngs
from edgeml_train.features import FeaturePipeline, ImageFeatures
from edgeml_train.networks import digit_cnn


class HandwrittenDigits(Task):
    """Ten classes of 8×8 scans."""

    def splits(self) -> Splits:
        """60 % for training, 15 % for validation, 25 % for the test; every digit keeps its share."""
        data = handwritten_digits()
        train, validation, test = (
            data.take(part) for part in stratified_parts(data.targets, (0.6, 0.15), seed=self.data.get("seed", 0))
        )
        # Some test images as files: they become golden vectors of the bundle, and `edgeml predict` can read them.
        files = write_pngs(test.inputs["image"], test.targets, self.cache / "test-images")
        return Splits(train=train, validation=validation, test=test, name="random, stratified by digit", files=files)

    def features(self) -> FeaturePipeline:
        """Becomes part of the exported model: uint8 [n, 8, 8, 1] in, float32 [n, 1, 8, 8] out."""
        return ImageFeatures(channels=1)

    def network(self) -> nn.Module:
        """Three small convolutions; logits [n, 10] out."""
        return digit_cnn(10, width=self.data.get("width", 32))

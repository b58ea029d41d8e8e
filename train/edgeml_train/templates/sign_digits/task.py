"""The task: where the data come from and what is trained on them."""

from torch import nn

from edgeml_train import Splits, Task
from edgeml_train.augment import Augmentation
from edgeml_train.augment_image import ImageAugmentation
from edgeml_train.data import find_photographs, load_photographs, split_students
from edgeml_train.features import FeaturePipeline, ImageFeatures
from edgeml_train.networks import mobilenet_v1


class SignDigits(Task):
    """Ten hand signs, shown by students who are not all in the training split."""

    def splits(self) -> Splits:
        """70 % of the students for training, 10 % for validation, 20 % for the test."""
        seed = self.data.get("seed", 0)
        return load_photographs(
            split_students(find_photographs(self.path("path")), (0.7, 0.1), seed=seed),
            self.contract.inputs[0],
            name=f"held-out students (a fifth, seed {seed})",
            cache=self.cache,
            max_unreadable=self.data.get("max_unreadable", 0.01),
        )

    def features(self) -> FeaturePipeline:
        """Becomes part of the exported model: uint8 [n, 96, 96, 3] in, float32 [n, 3, 96, 96] out."""
        return ImageFeatures(channels=3)

    def network(self) -> nn.Module:
        """MobileNetV1 at a quarter of its width; logits [n, 10] out."""
        rows, columns, channels = self.contract.inputs[0].shape
        return mobilenet_v1(10, width=0.25, size=(rows, columns), in_channels=channels)

    def augment(self) -> Augmentation:
        """Other positions, angles, sizes and light, in training only (`train.augment = false` switches it off)."""
        return ImageAugmentation()

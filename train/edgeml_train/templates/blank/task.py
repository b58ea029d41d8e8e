"""The task: where the data come from and what is trained on them. Every `raise` is still to be replaced."""

from torch import nn

from edgeml_train import Splits, Task


class MyTask(Task):
    """What edgeml.toml promises, made."""

    def splits(self) -> Splits:
        """Three times LabelledData(inputs={name: array [n, *shape]}, targets=array [n]), as edgeml.toml says."""
        raise NotImplementedError("load the data: return Splits(train=..., validation=..., test=..., name=...)")

    def features(self) -> nn.Module:
        """Becomes part of the exported model: takes the inputs of edgeml.toml, gives what the network takes."""
        raise NotImplementedError("return the preprocessing: Function(f) with f of tensors, or any nn.Module")

    def network(self) -> nn.Module:
        """Takes what the features give, gives logits [n, classes], or values [n, 1]."""
        raise NotImplementedError("return the network: load_pretrained(Net(), path) where its weights exist")

"""The task: where the data come from and what is trained on them."""

from torch import nn

from edgeml_runtime.errors import ProjectError
from edgeml_train import Splits, Task
from edgeml_train.augment import AudioAugmentation, Augmentation
from edgeml_train.data import LabelledFile, Part, Recording, find_recordings, load_splits
from edgeml_train.features import FeaturePipeline, LogMel
from edgeml_train.networks import ds_cnn


class SpokenDigits(Task):
    """Ten digits, spoken by people who are not all in the training split."""

    def splits(self) -> Splits:
        """Hold out speakers, or split as the data set's authors do, with every speaker in every split."""
        by_speaker = self.choice("split", ("speakers", "authors")) == "speakers"
        part_of = self._part_by_speaker if by_speaker else _part_by_index
        files = [
            LabelledFile(
                path=found.path, part=part_of(found), target=found.digit, attributes={"speaker": found.speaker}
            )
            for found in find_recordings(self.path("path"))
        ]
        name = "the authors' (indices 0-4 are the test; all speakers shared)"
        if by_speaker:
            name = f"held-out speakers: {', '.join(self._speakers('test_speakers'))}"
        return load_splits(
            files,
            self.contract.inputs[0],
            name=name,
            max_unreadable=self.data.get("max_unreadable", 0.0),
            shared_groups=not by_speaker,
        )

    def features(self) -> FeaturePipeline:
        """Becomes part of the exported model: int16 [n, 8000] in, log-mel spectrogram out."""
        return LogMel(samples=8000, sample_rate_hz=8000)

    def network(self) -> nn.Module:
        """A depthwise separable CNN; logits [n, 10] out."""
        return ds_cnn(10, channels=self.data.get("channels", 64))

    def augment(self) -> Augmentation:
        """Other speeds, positions, levels and noise, in training only (`train.augment = false` switches it off)."""
        return AudioAugmentation()

    def _part_by_speaker(self, recording: Recording) -> Part:
        if recording.speaker in self._speakers("test_speakers"):
            return Part.TEST
        return Part.VALIDATION if recording.speaker in self._speakers("validation_speakers") else Part.TRAIN

    def _speakers(self, key: str) -> list[str]:
        names = self.data.get(key)
        if not isinstance(names, list) or not names:
            raise ProjectError(f"edgeml.toml: expected data.{key} to be a list of speakers, found {names!r}")
        return names


def _part_by_index(recording: Recording) -> Part:
    if recording.index < 5:
        return Part.TEST
    return Part.VALIDATION if recording.index < 10 else Part.TRAIN

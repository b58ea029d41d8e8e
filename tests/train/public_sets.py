"""Writes small public data sets in exactly their published formats."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

RATE_HZ = 16_000
WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
OTHER_WORDS = ("bed", "marvin")
SPEAKERS = {
    "train": ("0a7c2a8d", "1b88bf70", "ffd2ba2f"),
    "validation": ("b0f24c9b", "c0445658"),
    "test": ("0c40e715", "0c540988"),
}


def tone(hertz: float, *, seconds: float = 1.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A sine of int16 samples."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.rint(8000 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


def write_wav(path: Path, samples: np.ndarray, rate_hz: int = RATE_HZ) -> Path:
    """Write 16-bit mono PCM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate_hz, len(samples), "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def write_speech_commands(folder: Path) -> Path:
    """Folders of words, noise, lists and the archive's other files, as speech_commands_v0.02.tar.gz unpacks."""
    lists = {"validation": [], "test": []}
    for number, word in enumerate((*WORDS, *OTHER_WORDS)):
        for part, speakers in SPEAKERS.items():
            for speaker in speakers:
                name = f"{word}/{speaker}_nohash_{number % 2}.wav"
                # As in the original, not every recording fills its second.
                write_wav(folder / name, tone(200 + 40 * number, seconds=0.75 if speaker == "ffd2ba2f" else 1.0))
                if part in lists:
                    lists[part].append(name)
    for name, seconds in (("white_noise", 3.25), ("running_tap", 2.0), ("pink_noise", 2.6)):
        noise = np.random.default_rng(len(name)).integers(-500, 500, round(seconds * RATE_HZ)).astype(np.int16)
        write_wav(folder / "_background_noise_" / f"{name}.wav", noise)
    (folder / "_background_noise_" / "README.md").write_text("Where the noise comes from.\n")
    (folder / "validation_list.txt").write_text("".join(f"{name}\n" for name in lists["validation"]))
    (folder / "testing_list.txt").write_text("".join(f"{name}\n" for name in lists["test"]))
    (folder / "README.md").write_text("Speech Commands Data Set v0.02\n")
    (folder / "LICENSE").write_text("Creative Commons BY 4.0\n")
    (folder / ".DS_Store").write_bytes(b"\0")
    return folder


def write_speech_test_set(folder: Path) -> Path:
    """Folders of twelve labels, as speech_commands_test_set_v0.02.tar.gz unpacks."""
    for number, word in enumerate(WORDS):
        write_wav(folder / word / "0c40e715_nohash_0.wav", tone(200 + 40 * number))
    write_wav(folder / "_unknown_" / "bed_0c540988_nohash_0.wav", tone(600))
    write_wav(folder / "_unknown_" / "marvin_0c540988_nohash_1.wav", tone(640))
    write_wav(folder / "_silence_" / "0.wav", tone(50))
    return folder


def write_cifar10(folder: Path, *, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Six batches of records and the names of the classes; gives all pixels [60, 32, 32, 3] and classes in order."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(10)
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    pixels = rng.integers(0, 256, (6 * images, 32, 32, 3), np.uint8)
    classes = np.arange(6 * images) % 10
    for number, name in enumerate(names):
        rows = range(number * images, (number + 1) * images)
        with (folder / name).open("wb") as file:
            for row in rows:
                file.write(bytes([classes[row]]))
                for channel in range(3):
                    file.write(pixels[row, :, :, channel].tobytes())
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n")
    (folder / "readme.html").write_text("<html></html>\n")
    return pixels, classes


def write_images(folder: Path, *, per_class: int = 40, classes: tuple[str, ...] = ("non_person", "person")) -> Path:
    """Folders of 96×96 JPEGs named as in COCO, as vw_coco2014_96.tar.gz unpacks."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            picture = Image.new("RGB", (96, 96), (60 + 120 * number, index, 90))
            picture.save(folder / name / f"COCO_train2014_{100 * number + index:012d}.jpg", quality=95)
    return folder


def write_machines(folder: Path, *, machine: str = "ToyCar", seconds: float = 0.5) -> Path:
    """Folders train and test of two machines, as dev_data_ToyCar.zip unpacks."""
    for machine_id in ("01", "02"):
        for index in range(20):
            name = f"normal_id_{machine_id}_{index:08d}.wav"
            write_wav(folder / machine / "train" / name, tone(300 + index, seconds=seconds))
        for index in range(3):
            name = f"normal_id_{machine_id}_{index:08d}.wav"
            write_wav(folder / machine / "test" / name, tone(300 + index, seconds=seconds))
        for index in range(2):
            name = f"anomaly_id_{machine_id}_{index:08d}.wav"
            write_wav(folder / machine / "test" / name, tone(900 + index, seconds=seconds))
    return folder

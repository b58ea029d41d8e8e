"""Made-up data in the formats of the data sets that templates read: what is committed must not hold theirs.

They are easy to learn, so that a template trained fast on them keeps its quality floor; what the bundles are for is
their instructions, which hang on the network and not on what it knows.
"""

from __future__ import annotations

import colorsys
import json
import math
import wave
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["GENERATED"]

RATE_HZ = 8000
# The two tones of a key on a telephone (ITU-T Q.23); 0 is the key below 8.
TONES_HZ = dict(
    zip(range(10), [(941, 1336), *((low, high) for low in (697, 770, 852) for high in (1209, 1336, 1477))], strict=True)
)
# Those that the template holds out are among them.
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TAKES = 12

STUDENTS = 90
SIDE = 100

SERIES = ("press", "pump", "fan")
DAYS, INTERVAL_S = 56, 300
EVENT_DAYS = (22, 27, 34, 41, 48, 53)


def spoken_digits(folder: Path) -> None:
    """Keys of a telephone as spoken digits: ``DIGIT_SPEAKER_TAKE.wav``, 8 kHz, 16 bits, as in FSDD."""
    rng = np.random.default_rng(0)
    for number, speaker in enumerate(SPEAKERS):
        for digit, tones in TONES_HZ.items():
            for take in range(TAKES):
                time = np.arange(int(RATE_HZ * rng.uniform(0.35, 0.5))) / RATE_HZ
                pitch = 1 + 0.004 * (number - 2)
                signal = sum(np.sin(2 * np.pi * (tone * pitch * time + rng.random())) for tone in tones)
                noisy = rng.uniform(2000, 6000) * signal + rng.normal(0, 200, len(time))
                with wave.open(str(folder / f"{digit}_{speaker}_{take}.wav"), "wb") as file:
                    file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
                    file.writeframes(noisy.astype("<i2").tobytes())


def sign_digits(folder: Path) -> None:
    """Drawn hands: ``DIGIT/IMG_NNNN.JPG`` of 100 × 100 pixels, numbered by student as in the Sign Language Digits.

    Every digit has a glove of its own colour, or a few minutes of training would not tell them apart.
    """
    rng = np.random.default_rng(0)
    for digit in range(10):
        (folder / str(digit)).mkdir()
    for student in range(STUDENTS):
        light = rng.uniform(0.6, 1.0)
        ground = tuple(int(value) for value in rng.integers(10, 70, 3))
        for digit in range(10):
            picture = Image.new("RGB", (SIDE, SIDE), ground)
            glove = colorsys.hsv_to_rgb(digit / 10, 0.9, light)
            draw_hand(ImageDraw.Draw(picture), digit, tuple(int(255 * part) for part in glove), rng)
            picture.save(folder / str(digit) / f"IMG_{1000 + 20 * student + digit}.JPG", quality=90)


def draw_hand(draw: ImageDraw.ImageDraw, digit: int, colour: tuple[int, ...], rng: np.random.Generator) -> None:
    """A palm with as many fingers as the digit says; from six on one hand's five are crossed by the rest as bars."""
    x, y = 50 + rng.uniform(-5, 5), 66 + rng.uniform(-5, 5)
    radius = rng.uniform(15, 19)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    for finger in range(min(digit, 5)):
        angle = math.radians(-150 + 30 * finger)
        end = (x + 48 * math.cos(angle), y + 48 * math.sin(angle))
        draw.line((x, y, *end), fill=colour, width=7)
    for bar in range(digit - 5):
        top = 86 + 5 * bar - 10 * (bar > 1)
        draw.rectangle((8 + 42 * (bar % 2), top, 44 + 42 * (bar % 2), top + 3), fill=colour)


def machine_temperature(folder: Path) -> None:
    """Daily rhythms with planted faults: ``data/machine/NAME.csv`` and the labels, as in NAB."""
    rng = np.random.default_rng(0)
    (folder / "data/machine").mkdir(parents=True)
    (folder / "labels").mkdir()
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    per_day = 86_400 // INTERVAL_S
    labels = {}
    for number, name in enumerate(SERIES):
        days = np.arange(DAYS * per_day) / per_day
        values = 60 + 10 * number + 5 * np.sin(2 * np.pi * days) + rng.normal(0, 0.8, len(days))
        windows = []
        for day in EVENT_DAYS:
            at = int((day + rng.uniform(0.1, 0.6)) * per_day)
            values[at : at + per_day // 4] += 25 * (-1) ** day + rng.normal(0, 6, per_day // 4)
            ends = (begin + timedelta(seconds=INTERVAL_S * index) for index in (at, at + per_day // 4))
            windows.append([f"{end:%Y-%m-%d %H:%M:%S}.000000" for end in ends])
        labels[f"machine/{name}.csv"] = windows
        rows = (
            f"{begin + timedelta(seconds=INTERVAL_S * index):%Y-%m-%d %H:%M:%S},{value:.3f}"
            for index, value in enumerate(values)
        )
        (folder / f"data/machine/{name}.csv").write_text("\n".join(["timestamp,value", *rows, ""]), encoding="ascii")
    (folder / "labels/combined_windows.json").write_text(json.dumps(labels, indent=1), encoding="ascii")


GENERATED: dict[str, Callable[[Path], None]] = {
    "spoken-digits": spoken_digits,
    "sign-digits": sign_digits,
    "machine-temperature": machine_temperature,
}
"""Template → what writes data for it into an empty folder."""

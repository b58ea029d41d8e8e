"""Damage anywhere in a bundle is noticed, and never as another exception than those of the tree."""

from __future__ import annotations

import random

import pytest

from edgeml_runtime.bundle import Bundle
from edgeml_runtime.errors import BundleError


def open_and_verify(path):
    with Bundle.open(path) as bundle:
        bundle.verify()


def flip_and_restore(path, content, flips):
    """Flip each byte by itself and see that it is noticed."""
    with open(path, "r+b", buffering=0) as file:
        for at, mask in flips:
            file.seek(at)
            file.write(bytes([content[at] ^ mask]))
            with pytest.raises(BundleError):
                open_and_verify(path)
            file.seek(at)
            file.write(content[at : at + 1])
    open_and_verify(path)


def test_a_flipped_byte_is_noticed(sample, bundle_file):
    rng = random.Random(5)
    ends = [*range(60), *range(len(sample.content) - 150, len(sample.content))]
    middle = rng.sample(range(len(sample.content)), 300)
    flip_and_restore(bundle_file, sample.content, [(at, 1 << rng.randrange(8)) for at in [*ends, *middle]])


@pytest.mark.long
@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_anywhere_is_noticed(sample, bundle_file, bit):
    flip_and_restore(bundle_file, sample.content, [(at, 1 << bit) for at in range(len(sample.content))])


def cut_and_refuse(path, content, lengths):
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises(BundleError):
            open_and_verify(path)


def test_a_cut_is_noticed(sample, bundle_file):
    size = len(sample.content)
    cut_and_refuse(bundle_file, sample.content, [*range(80), *range(80, size - 60, 23), *range(size - 60, size)])


@pytest.mark.long
def test_a_cut_anywhere_is_noticed(sample, bundle_file):
    cut_and_refuse(bundle_file, sample.content, range(len(sample.content)))


def test_random_damage_never_gives_another_exception(sample, tmp_path):
    rng = random.Random(11)
    path = tmp_path / "damaged.edgeml"
    for _ in range(300):
        content = bytearray(sample.content)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(content))
            match rng.randrange(4):
                case 0:
                    content[at] = rng.randrange(256)
                case 1:
                    del content[at : at + rng.randint(1, 40)]
                case 2:
                    content[at:at] = rng.randbytes(rng.randint(1, 40))
                case 3:
                    begin = rng.randrange(len(content))
                    content[at : at + 16] = content[begin : begin + 16]
        path.write_bytes(content)
        if content != sample.content:
            with pytest.raises(BundleError):
                open_and_verify(path)

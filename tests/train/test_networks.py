"""The networks: shapes, sizes, and what they reach on real data."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeml_train.features import ImageFeatures
from edgeml_train.networks import GlobalAveragePool, count_parameters, dense_autoencoder, digit_cnn, ds_cnn, resnet8


def test_ds_cnn_has_the_stated_shape_and_size():
    network = ds_cnn(10)
    assert network(torch.zeros(2, 1, 61, 40)).shape == (2, 10)
    assert count_parameters(network) == 23_050


def test_ds_cnn_of_the_original_has_the_same_parameters_at_higher_resolution():
    seen = []
    network = ds_cnn(12, first_stride=1)
    network[3].register_forward_hook(lambda module, given, result: seen.append(result.shape))
    assert network(torch.zeros(1, 1, 49, 10)).shape == (1, 12)
    assert seen == [(1, 64, 25, 5)]
    assert count_parameters(network) == count_parameters(ds_cnn(12))


def test_ds_cnn_width_and_depth_can_be_set():
    assert (
        count_parameters(ds_cnn(4, channels=16, blocks=1)) == 16 * 40 + 32 + (16 * 9 + 32 + 16 * 16 + 32) + 16 * 4 + 4
    )


def test_digit_cnn_has_the_stated_shape_and_size():
    network = digit_cnn()
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert 20_000 < count_parameters(network) < 60_000


# Sizes of MLPerf Tiny's references: tests/export/test_zoo.py says where they are published.
def test_resnet8_has_the_published_size_and_halves_twice():
    network = resnet8(10)
    seen = []
    network[5].register_forward_hook(lambda module, given, result: seen.append(result.shape))
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert seen == [(2, 64, 8, 8)]
    assert count_parameters(network) == 78_186


def test_resnet8_takes_other_images():
    network = resnet8(3, width=4, size=(31, 20), in_channels=1)
    assert network(torch.zeros(2, 1, 31, 20)).shape == (2, 3)


def test_dense_autoencoder_has_the_published_size_and_gives_back_the_columns():
    network = dense_autoencoder(640)
    assert network(torch.zeros(2, 640)).shape == (2, 640)
    assert count_parameters(network) == 267_928


def test_count_leaves_out_buffers_and_frozen_parameters():
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    assert count_parameters(network) == 8 + 4
    network[0].requires_grad_(requires_grad=False)
    assert count_parameters(network) == 4


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_global_average_pool_is_the_mean_whatever_the_memory_order(memory):
    values = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
    pooled = GlobalAveragePool()(values.to(memory_format=memory))
    assert torch.equal(pooled, values.mean(dim=(2, 3)))


@pytest.fixture
def one_thread():
    """Threads that wait for each other cost more than they bring on layers this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.long
def test_digit_cnn_reaches_97_percent_on_handwritten_digits(one_thread):
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = torch.from_numpy((digits.images * 255 / 16).round()).to(torch.uint8).unsqueeze(3)
    parts = train_test_split(
        images, torch.from_numpy(digits.target), test_size=0.25, stratify=digits.target, random_state=0
    )
    train_images, test_images, train_targets, test_targets = parts
    torch.manual_seed(0)
    model = nn.Sequential(ImageFeatures(channels=1), digit_cnn())
    steps = 20 * (len(train_images) // 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        batch = torch.randint(len(train_images), (32,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(train_images[batch]), train_targets[batch]).backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(test_images).argmax(1) == test_targets).double().mean().item()
    assert accuracy >= 0.97

"""The toy of Figure 2: what the supplement's §4 fixes, what is measured, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from oodbench_ebae import toy
from oodbench_ebae.figure2 import MEASURES, Settings
from torch import nn

from oodbench import Context
from oodbench.cli import main

CPU = torch.device("cpu")


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(toy, "AE_EPOCHS", 2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return toy.build()


def points(seed=0):
    return toy.two_clusters(Context(CPU, seed).generator("data"))


def widths(network):
    return [(layer.in_features, layer.out_features) for layer in network if isinstance(layer, nn.Linear)]


def test_the_data_are_two_hundred_points_in_either_box():
    data = points().flatten(1)
    assert data.shape == (400, 2)
    for cluster, low in ((data[:200], -2), (data[200:], 1)):
        assert cluster[:, 0].min() >= low and cluster[:, 0].max() <= low + 1
        assert cluster.mean(0).sub(torch.tensor([low + 0.5, 0.0])).abs().max() < 0.1
        assert cluster.std(0).sub(1 / 12**0.5).abs().max() < 0.05
    assert data[:, 1].abs().max() <= 0.5
    assert points().equal(points()) and not points().equal(points(1))


def test_the_networks_are_the_supplements(model):
    assert widths(model.encoder) == [(2, 200), (200, 200), (200, 1)]
    assert widths(model.decoder) == [(1, 200), (200, 200), (200, 2)]
    assert isinstance(model.encoder[-1], nn.Tanh)
    assert [type(layer) for layer in model.decoder if not isinstance(layer, nn.Linear)] == [
        nn.ReLU, nn.ReLU, nn.Unflatten,
    ]  # fmt: skip


def test_an_epoch_is_four_batches_of_all_points():
    data = points()
    sizes = [len(batch) for batch in toy.batches(data, torch.Generator().manual_seed(0))]
    assert sizes == [128, 128, 128, 16]
    shuffled = torch.cat([*toy.batches(data, torch.Generator().manual_seed(0))]).flatten(1)
    assert not shuffled.equal(data.flatten(1))
    assert shuffled.sum(0).allclose(data.flatten(1).sum(0), atol=1e-3)


def test_the_energy_is_the_mean_or_the_sum_over_the_coordinates(model):
    x = points()[:5]
    error = (x - model(x)).square().flatten(1)
    assert toy.energy(model, Settings())(x).allclose(error.mean(1))
    assert toy.energy(model, Settings(energy="sum"))(x).allclose(error.sum(1))


def test_codes_stay_in_the_interval_and_samples_in_the_box(model, monkeypatch):
    seen = []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda z: seen.append(z.detach()) or decode(z))
    settings = Settings(latent_noise=5.0, visible_noise=5.0, anneal="none", box=0.25)
    negatives = toy.draw_negatives(model, 64, settings, torch.Generator().manual_seed(0))
    assert negatives.shape == (64, 2, 1, 1)
    assert negatives.abs().max() == 0.25
    codes = torch.cat([z for z in seen if z.shape == (64, 1)])
    assert codes.abs().max() == 1


def test_ebae_trains_the_encoder_alone(model):
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    toy.train_encoder(model, points(), Settings(epochs=1), Context(CPU), lambda: None)
    changed = {name.split(".")[0] for name, weight in model.state_dict().items() if not weight.equal(before[name])}
    assert changed == {"encoder"}


def test_a_seed_is_a_run(short):
    first, again, other = (toy.run(Settings(seed=seed, epochs=1)) for seed in (0, 0, 1))
    assert np.array_equal(first.after.plane, again.after.plane)
    assert not np.array_equal(first.after.plane, other.after.plane)
    assert np.array_equal(first.before.curve, first.after.curve)


def test_regions_are_measured_apart():
    """Energy 0 in the boxes, 1 between them, 2 elsewhere."""
    columns, rows = toy.grid()
    x, y = np.meshgrid(columns, rows)
    level = np.abs(y) <= 0.5
    plane = np.where(level & (np.abs(x) >= 1) & (np.abs(x) <= 2), 0.0, np.where(level & (np.abs(x) < 1), 1.0, 2.0))
    curve = np.stack([np.linspace(-1.5, 1.5, 5), np.zeros(5)], axis=1)
    state = toy.Snapshot(plane, np.array([0.0, 0.0, 0.0, 1.5]), curve, np.array([0.0, 0.5, 1.0, 1.5, 0.0]))
    measured = toy.measure(toy.Outcome(np.zeros((4, 2)), state, state))["after"]
    assert measured.keys() == MEASURES.keys()
    assert (measured["data"], measured["between"], measured["outside"]) == (0.375, 1.0, 2.0)
    assert measured["decoder_curve_off_data"] == 1.0
    assert measured["auroc_between"] == 0.75
    assert 0.75 < measured["auroc"] < 1


# ------------------------------------------------------------------------------------ the command


def oodbench(*words, code=0):
    result = CliRunner().invoke(main, ["ebae-figure2", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


def test_it_draws_and_prints(short, tmp_path):
    result = oodbench("--epochs", 1, "--output", tmp_path / "toy.png")
    assert (tmp_path / "toy.png").read_bytes().startswith(b"\x89PNG")
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["before", "after", "times"]
    assert [line.split("  ")[0] for line in lines] == [*MEASURES.values()]


def test_json_has_the_settings_and_both_states(short, tmp_path):
    result = oodbench("--epochs", 1, "--seed", 3, "--energy", "sum", "--json", "--output", tmp_path / "toy.svg")
    record = json.loads(result.stdout)
    assert record["settings"]["seed"] == 3 and record["settings"]["energy"] == "sum"
    assert record["before"].keys() == record["after"].keys() == MEASURES.keys()
    assert record["before"] != record["after"]


def test_help_states_every_default_of_what_the_text_leaves_open():
    text = " ".join(oodbench("--help").stdout.split())
    for name, value in vars(Settings()).items():
        assert f"--{name.replace('_', '-')} " in text
        assert f"default: {value}" in text


def test_a_file_that_cannot_be_written_is_one_line(short, tmp_path):
    result = oodbench("--epochs", 0, "--output", tmp_path / "none" / "toy.png", code=1)
    assert "cannot be written" in result.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_autoencoder_unlearns_what_lies_between_the_clusters():
    measured = toy.measure(toy.run(Settings()))
    before, after = measured["before"], measured["after"]
    assert after["between"] > 1.5 * before["between"]
    assert after["decoder_curve_off_data"] > 3 * before["decoder_curve_off_data"]
    assert after["data"] < after["between"] / 3
    assert after["auroc_between"] > before["auroc_between"]

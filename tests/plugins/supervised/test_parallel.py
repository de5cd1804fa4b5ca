"""Two processes that share every mini-batch take the steps of one."""

import json
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ndm_apps.engine.parallel import ALONE, Workers, workers
from ndm_apps.errors import InputError
from ndm_apps.plugins.supervised.model import build_network
from ndm_apps.plugins.supervised.schema import MLPSettings, NDMSettings
from ndm_apps.plugins.supervised.training import Training

STEPS = 8
SMALL = {"steps": STEPS, "batch_size": 16, "couplings": 1, "coupling_hidden": (8,), "metric_hidden": (8,)}
SETTINGS = {
    "adam": NDMSettings(**SMALL, geometric=0.5, points=4, learning_rate=0.01),
    "all points, charts that agree": NDMSettings(**SMALL, geometric=0.5, points=None, compatibility=1.0),
    "balanced, Cholesky": NDMSettings(**SMALL, geometric=0.5, weighting="balanced", structure="cholesky", curv_every=2),
    "kfac": NDMSettings(**SMALL, geometric=0.1, points=4, optimiser="kfac", learned=1.0, learning_rate=0.5),
    "cg": NDMSettings(**SMALL, geometric=0.1, points=4, optimiser="cg", learned=1.0, learning_rate=0.5),
    "perceptron": MLPSettings(steps=STEPS, batch_size=16, parameters=400),
}


def curve(settings, group=ALONE):
    """The training loss after each step, then the sum of all parameters' squares."""
    draw = torch.Generator().manual_seed(1)
    z = torch.randn(40, 3, generator=draw, dtype=torch.float64)
    y = (z[:, 0] > 0).long() + (z[:, 1] > 0).long()
    torch.manual_seed(2)
    network = build_network(settings, 3, 3).double()
    training = Training(settings, network, z, y, seed=3, workers=group)
    losses = []
    for _ in range(settings.steps):
        training.advance()
        losses.append(training.loss())
    return [*losses, sum(p.square().sum().item() for p in network.parameters())]


def child(rank, size, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    group = workers()
    found = {name: curve(settings, group) for name, settings in SETTINGS.items()}
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    mp.spawn(child, (2, str(folder)), nprocs=2)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_curve_of_two_processes_is_that_of_one(name, shared):
    alone = curve(SETTINGS[name])
    assert shared[0][name][:-1] == pytest.approx(alone[:-1], rel=1e-6, abs=1e-6)
    assert shared[0][name][-1] == pytest.approx(alone[-1], rel=1e-5)
    assert shared[1][name] == shared[0][name], "the processes hold the same network, to the bit"
    assert abs(alone[0] - alone[-2]) > 1e-3, "something was learnt, so the comparison says something"


def test_points_are_dealt_out_evenly():
    batch, points = torch.arange(100, 112), torch.tensor([5, 1, 8, 2])
    shares = [Workers(rank, 2).take(batch, points) for rank in range(2)]
    assert sorted(torch.cat([share for share, _ in shares]).tolist()) == batch.tolist()
    dealt = torch.cat([share[own] for share, own in shares])
    assert sorted(dealt.tolist()) == [101, 102, 105, 108]
    assert all(len(share) == 6 and len(own) == 2 for share, own in shares)


def test_what_cannot_be_shared_is_refused():
    z, y = torch.zeros(40, 3), torch.zeros(40, dtype=torch.long)
    three, more = Workers(0, 3), {**SMALL, "batch_size": 18}
    for settings, message in (
        (NDMSettings(**SMALL, geometric=0.0), "batch_size: got 16, must be a multiple of the 3 processes"),
        (
            NDMSettings(**more, points=16),
            "points: got 16, must be a multiple of the 3 processes",
        ),
        (MLPSettings(batch_size=18, dropout=0.5), "dropout: got 0.5 with 3 processes, must be 0"),
    ):
        with pytest.raises(InputError, match=message):
            Training(settings, build_network(settings, 3, 3), z, y, seed=0, workers=three)
    with pytest.raises(ValueError, match="points must be divisible among 3 processes, got 4"):
        three.take(torch.arange(6), torch.arange(4))
    with pytest.raises(ValueError, match="rank must be from 0 to below size 2, got 2"):
        Workers(2, 2)


def test_a_process_that_was_started_alone_is_alone():
    assert "WORLD_SIZE" not in os.environ and workers() is ALONE

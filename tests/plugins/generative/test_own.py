import pytest
import torch

from ndm_apps.errors import InputError
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.model_settings import AutoencoderSettings, DensitySettings
from ndm_apps.plugins.generative.own import own_decoder, own_metric

MODULE = """
import math
import torch
from torch import nn

class Good(nn.Module):
    def __init__(self, dimension, shape):
        super().__init__()
        self.shape, self.weight = shape, nn.Parameter(torch.ones(dimension, math.prod(shape)))

    def forward(self, z):
        return (z @ self.weight).reshape(-1, *self.shape)

class Flat(Good):
    def forward(self, z):
        return z @ self.weight

class Broken(Good):
    def forward(self, z):
        return z @ self.weight[1:]

class Endless(Good):
    def forward(self, z):
        return super().forward(z) / 0

class Fixed(nn.Module):
    pass

def function(dimension, shape):
    return 3

def metric(z):
    return torch.diag_embed(1 + z.square())

def vector(z):
    return z

def indefinite(z):
    return -metric(z)

number = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "own_parts_of_a_user.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)


def test_a_decoder_of_the_users_own_takes_the_place_of_ours():
    settings = AutoencoderSettings(dimension=4, hidden=(6,), decoder="own_parts_of_a_user:Good")
    model = LatentModel((1, 8, 8), 0, settings, DensitySettings())
    assert type(model.decoder).__name__ == "Good"
    assert torch.equal(model.decode(torch.zeros(3, 4)), torch.full((3, 1, 8, 8), 0.5))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module:Good", "cannot be imported"),
        ("own_parts_of_a_user:Missing", "cannot be imported"),
        ("own_parts_of_a_user:number", "a int, must be callable"),
        ("own_parts_of_a_user:function", "makes a int, must make a torch.nn.Module"),
        ("own_parts_of_a_user:Fixed", "fails when called with dimension=4, shape="),
        ("own_parts_of_a_user:Flat", r"returns shape \(2, 64\) for 2 points, must be \(2, 1, 8, 8\)"),
        ("own_parts_of_a_user:Broken", r"fails when called with a tensor of shape \(2, 4\)"),
        ("own_parts_of_a_user:Endless", "not finite"),
    ],
)
def test_a_decoder_that_does_not_fit_is_refused_in_one_line(name, says):
    with pytest.raises(InputError, match=f"model.decoder: .*{says}") as caught:
        own_decoder(name, 4, (1, 8, 8))
    assert "\n" not in str(caught.value)


def test_a_metric_of_the_users_own():
    assert own_metric("own_parts_of_a_user:metric", 4)(torch.zeros(3, 4)).shape == (3, 4, 4)
    for name, says in (("vector", r"returns shape \(2, 4\)"), ("indefinite", "not symmetric positive definite")):
        with pytest.raises(InputError, match=f"metric.own: own_parts_of_a_user:{name} .*{says}"):
            own_metric(f"own_parts_of_a_user:{name}", 4)

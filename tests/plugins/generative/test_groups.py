import pytest
import torch
from torch import nn

from ndm_apps.plugins.generative.autoencoder import Code
from ndm_apps.plugins.generative.groups import groups_of, train_groups
from ndm_apps.plugins.generative.metric import latent_metric
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.model_settings import AutoencoderSettings, DensitySettings, HeadSettings
from ndm_apps.plugins.generative.paths import geodesic_paths

CENTRES = torch.tensor([[4.0, 0.0], [-2.0, 3.0], [-2.0, -3.0]])


def blobs(count: int = 600) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return CENTRES[torch.arange(count) % 3] + torch.randn(count, 2, generator=generator) / 2


def trained(**more) -> LatentModel:
    """A model without labels whose codes are its samples, with a head of three groups."""
    torch.manual_seed(1000)
    head = HeadSettings(hidden=(32,), steps=300, points=3000, teacher_steps=200, groups=3, **more)
    plain = AutoencoderSettings(dimension=2, hidden=(8,), flow=0)
    model = LatentModel((2,), 0, plain, DensitySettings(components=3), head)
    model.decoder = nn.Identity()
    z = blobs()
    model.density.fit(z, regular=1e-3, seed=0)
    model.density_levels.copy_(model.log_density(z).quantile(torch.tensor([0.05, 0.5])))
    model.scale.copy_(2 * z.var(0).sum())
    train_groups(model, Code(z, torch.full_like(z, -3.0)), z, head, seed=0)
    return model.requires_grad_(False)


def doubt(model: LatentModel, z: torch.Tensor) -> torch.Tensor:
    return torch.distributions.Categorical(logits=model.groups(z)).entropy()


def test_groups_are_the_sets_that_lie_apart():
    groups = groups_of(blobs(), 3, seed=1).reshape(-1, 3)
    assert (groups == groups[0]).all() and len(groups[0].unique()) == 3


def test_more_groups_than_points_leave_some_empty():
    assert sorted(groups_of(torch.eye(2), 5, seed=0).tolist()) == [0, 1]


def test_doubt_is_between_groups_and_not_in_them():
    model = trained(temperature=1.0)
    between = (CENTRES + CENTRES.roll(1, 0)) / 2
    assert doubt(model, CENTRES).max() < 0.1 < 0.4 < doubt(model, between).min()
    # Which group is which is chance; that the three are told apart is not.
    assert len(model.groups(CENTRES).argmax(-1).unique()) == 3


def test_at_a_temperature_doubt_reaches_further():
    nearer = 0.7 * CENTRES + 0.3 * CENTRES.roll(1, 0)
    assert (doubt(trained(temperature=4.0), nearer) > 1.5 * doubt(trained(temperature=1.0), nearer)).all()


def test_global_random_numbers_are_left_as_they_were():
    torch.manual_seed(5)
    expected = torch.rand(3)
    model = trained()
    z = blobs()
    torch.manual_seed(5)
    train_groups(model.requires_grad_(True), Code(z, torch.zeros_like(z)), z, HeadSettings(groups=3, steps=2), seed=3)
    assert torch.equal(torch.rand(3), expected)


def test_geodesics_without_labels_meet_less_doubt():
    model = trained()
    metric = latent_metric(model, entropy=1.5, density=20.0, labels=False)
    path = geodesic_paths(metric, CENTRES[:1], CENTRES[1:2], 17)
    straight = torch.lerp(CENTRES[:1], CENTRES[1:2], torch.linspace(0, 1, 17)[:, None])
    weighted = [
        (metric.weight((p[1:] + p[:-1]) / 2) * p.diff(dim=0).square().sum(-1)).sum() for p in (path.points[0], straight)
    ]
    assert path.converged.all() and weighted[0] < 0.99 * weighted[1]


def test_there_are_no_classes_to_keep_to():
    with pytest.raises(ValueError, match="avoid must be 0"):
        latent_metric(trained(), avoid=1.0, keep=(0, 1), labels=False)


@pytest.mark.filterwarnings("error")
def test_points_that_are_the_same_make_fewer_groups_without_a_warning():
    z = torch.tensor([[0.0], [1.0], [5.0]]).repeat(9, 1)
    assert len(groups_of(z, 10, seed=0).unique()) == 3

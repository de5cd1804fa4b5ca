import copy

import pytest
import torch

from ndm_apps.plugins.generative.autoencoder import Code
from ndm_apps.plugins.generative.head import points_between, train_head
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.model_settings import AutoencoderSettings, DensitySettings, HeadSettings
from ndm_apps.plugins.generative.train import Training, calibrate, codes, divergence, fit_density


def settings_of(**more):
    return AutoencoderSettings(**{"dimension": 2, "hidden": (16,), "flow": 2, "flow_hidden": (8,), "batch": 32, **more})


def made(images, settings, density="mixture", classes=2):
    torch.manual_seed(0)
    return LatentModel(images.shape[1:], classes, settings, DensitySettings(kind=density, components=4), HeadSettings())


@pytest.fixture(scope="module")
def images():
    """Bars at one of 6 places, of two widths: few enough that a small model learns them."""
    generator = torch.Generator().manual_seed(0)
    place = torch.randint(6, (320,), generator=generator)
    wide = torch.rand(320, generator=generator) < 0.5
    columns = torch.arange(8)
    on = (columns >= place[:, None]) & (columns <= (place + wide.long())[:, None])
    return on[:, None, None, :].expand(-1, 1, 8, 8).float().contiguous(), wide.long()


def trained(images, settings, **more):
    model = made(images, settings, **more)
    training = Training(model, images, settings, seed=0)
    while training.step < training.steps:
        training.advance()
    return model, training


@pytest.mark.parametrize("flow", [0, 2])
def test_a_trained_model_gives_images_back(images, flow):
    x, _ = images
    model, _ = trained(x, settings_of(flow=flow, epochs=60, rate=1e-2))
    assert (model(x) - x).abs().mean() < 0.05 < 0.2 * (x.mean(0) - x).abs().mean()


def test_a_heavy_divergence_makes_codes_the_prior(images):
    model, _ = trained(images[0], settings_of(flow=0, kl=1000.0, epochs=20, rate=1e-2))
    code = codes(model, images[0])
    assert code.mean.abs().max() < 0.1 and code.log_sd.abs().max() < 0.1


def test_the_divergence_at_samples_has_the_mean_of_the_closed_form(images):
    model = made(images[0], settings_of(flow=2))
    code = Code(torch.tensor([[0.7, -1.0]]).expand(100_000, 2), torch.tensor([[-0.5, 0.3]]).expand(100_000, 2))
    # Couplings start as the identity, so the prior is standard normal in both.
    at_samples = divergence(model, code, code.sample(torch.Generator().manual_seed(1)))
    model.prior.coordinates = None
    assert abs(at_samples.item() - divergence(model, code, code.mean).item()) < 0.02


@pytest.mark.parametrize("steps", [13, 33])
def test_training_goes_on_bit_for_bit_where_it_was_saved(images, steps):
    """Before and after the critic has come in, at 30 steps."""
    settings = settings_of(epochs=3, critic_epochs=1)
    whole, training = trained(images[0], settings)
    assert training.steps == 40
    first = Training(made(images[0], settings), images[0], settings, seed=0)
    for _ in range(steps):
        first.advance()
    state = copy.deepcopy(first.state_dict())
    torch.manual_seed(9)
    model = LatentModel((1, 8, 8), 2, settings, DensitySettings(components=4))
    second = Training(model, images[0], settings, seed=0)
    second.load_state_dict(state)
    while second.step < second.steps:
        second.advance()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_the_critic_teaches_the_decoder_alone_and_to_draw(images):
    x, _ = images
    # Noise, which no code of two numbers can tell; bars are the same in each row, so rows differ by noise alone.
    x = (x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    rough = {}
    for weight in (1.0, 1e-9):
        settings = settings_of(flow=0, epochs=10, critic=weight, critic_epochs=10, rate=1e-2)
        model = made(x, settings)
        training = Training(model, x, settings, seed=0)
        while training.step < 100:
            training.advance()
        before = copy.deepcopy(model.state_dict())
        while training.step < training.steps:
            training.advance()
        state = model.state_dict()
        assert {name.split(".")[0] for name in state if not torch.equal(state[name], before[name])} == {"decoder"}
        rough[weight] = model(x).diff(dim=-2).abs().mean()
    assert 2 * rough[1e-9] < rough[1.0] < x.diff(dim=-2).abs().mean()


def test_a_decoder_without_weights_has_nothing_to_learn_of_a_critic(images):
    x, _ = images
    settings = settings_of(flow=0, dimension=64, epochs=1)
    model = made(x, settings)
    model.decoder = torch.nn.Unflatten(-1, (1, 8, 8))
    training = Training(model, x, settings, seed=0)
    assert training.steps == 10
    training.advance()
    assert training.loss > 0


def test_density_head_and_levels_describe_the_codes(images):
    x, y = images
    model, _ = trained(x, settings_of(epochs=40, rate=1e-2))
    code = codes(model, x)
    fit_density(model, code, DensitySettings(components=4, samples=2000), seed=0)
    train_head(model, code, x, y, HeadSettings(steps=300, hidden=(16,), points=2000, teacher_steps=100), seed=0)
    calibrate(model, x, seed=0)
    z = code.sample(torch.Generator().manual_seed(1))
    assert (model.logits(z).argmax(-1) == y).float().mean() > 0.9
    low, middle = model.density_levels
    assert abs((model.log_density(z) < low).float().mean() - 0.05) < 0.04
    assert abs((model.log_density(z) < middle).float().mean() - 0.5) < 0.1
    distances = (z[:, None] - z[None]).square().sum(-1)
    assert abs(distances.sum() / (len(z) * (len(z) - 1)) / model.scale - 1) < 0.1


def test_points_of_the_head_lie_on_lines_between_codes():
    code = Code(torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.full((2, 2), -10.0))
    z = points_between(code, 3000, torch.Generator().manual_seed(0))
    assert (z[:, 1] - 2 * z[:, 0]).abs().max() < 1e-2
    at_codes = ((z - code.mean[0]).norm(dim=1) < 1e-2) | ((z - code.mean[1]).norm(dim=1) < 1e-2)
    # A third by design, and half of the others because both ends are the same.
    assert abs(at_codes.float().mean() - 2 / 3) < 0.05
    between = z[1000:, 0][~at_codes[1000:]]
    assert abs(between.mean() - 0.5) < 0.03 and abs(between.var() - 1 / 12) < 0.01


def test_the_head_doubts_where_decoded_images_are_of_no_class(images):
    """Between two far codes the decoder gives a mixture of both, which no label would have told of."""
    x, y = images
    model, _ = trained(x, settings_of(flow=0, epochs=40, rate=1e-2, critic=0.0))
    code = codes(model, x)
    train_head(model, code, x, y, HeadSettings(steps=600, hidden=(32,), points=4000, teacher_steps=200), seed=0)
    z = points_between(code, 2000, torch.Generator().manual_seed(3))

    def entropy(z):
        p = model.logits(z).softmax(-1)
        return -(p * p.log()).sum(-1).mean()

    assert entropy(z[700:]) > 1.3 * entropy(z[:666])


def test_a_flow_is_trained_on_and_the_prior_stays(images):
    x, _ = images
    model, _ = trained(x, settings_of(epochs=10), density="flow")
    code = codes(model, x)
    before = copy.deepcopy(model.prior.state_dict())
    fit_density(model, code, DensitySettings(kind="flow", epochs=100, rate=1e-2), seed=0)
    z = code.sample(torch.Generator().manual_seed(1))
    assert model.log_density(z).mean() > model.prior.log_prob(z).mean() + 0.1
    assert all(torch.equal(value, model.prior.state_dict()[name]) for name, value in before.items())


def test_vectors_are_learnt_under_a_gaussian_likelihood():
    generator = torch.Generator().manual_seed(0)
    t = 6.28 * torch.rand(400, 1, generator=generator)
    x = torch.cat([5 + t.cos(), 100 * t.sin(), t.cos() + t.sin()], 1)
    settings = settings_of(epochs=60, rate=1e-2, kl=0.1)
    model = made(x, settings)
    model.standardise(x)
    training = Training(model, x, settings, seed=0)
    while training.step < training.steps:
        training.advance()
    assert ((model(x) - x) / x.std(0)).square().mean() < 0.05

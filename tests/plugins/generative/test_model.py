import pytest
import torch

from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.errors import InputError
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.model_settings import AutoencoderSettings, DensitySettings, HeadSettings

DENSITY, HEAD = DensitySettings(components=2), HeadSettings(hidden=(6,))


def model_of(shape=(1, 8, 8), classes=3, **settings):
    torch.manual_seed(0)
    settings = {"dimension": 4, "hidden": (6, 5), "flow_hidden": (5,), **settings}
    return LatentModel(shape, classes, AutoencoderSettings(**settings), DENSITY, HEAD)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((1, 8, 8), "mlp"), ((3, 5, 9), "mlp"), ((7,), "mlp"), ((1, 28, 28), "conv"), ((3, 5, 9), "conv")],
)
def test_shapes_go_through_and_come_back(shape, kind):
    model = model_of(shape, kind=kind)
    x = torch.rand(2, *shape)
    code = model.encode(x)
    assert code.mean.shape == code.log_sd.shape == (2, 4)
    assert model(x).shape == x.shape
    z = torch.randn(3, 5, 4)
    images = model.decode(z)
    assert images.shape == (3, 5, *shape)
    if len(shape) == 3:
        assert 0 <= images.min() and images.max() <= 1
    assert model.log_density(z).shape == (3, 5)
    assert model.logits(z).shape == (3, 5, 3)
    assert model.sample(6, torch.Generator().manual_seed(0)).shape == (6, 4)


def test_the_decoder_can_be_differentiated_along_directions():
    model = model_of(kind="conv").double()
    z, v = torch.randn(2, 3, 4, dtype=torch.float64)
    derivative = torch.func.vmap(lambda a, b: torch.func.jvp(model.decode, (a,), (b,))[1])(z, v)
    step = 1e-6
    assert torch.allclose(derivative, (model.decode(z + step * v) - model.decode(z - step * v)) / (2 * step), atol=1e-6)


def test_vectors_are_standardised_and_come_back_in_their_own_units():
    model = model_of((3,))
    samples = torch.tensor([1000.0, 0.0, 5.0]) + torch.randn(500, 3) * torch.tensor([100.0, 0.001, 0.0])
    model.standardise(samples)
    assert torch.isfinite(model(samples)).all()
    assert abs(model(samples)[:, 0].mean() - 1000) < 100
    assert abs(model(samples)[:, 1].mean()) < 0.001


def test_weights_go_through_a_file_without_change(tmp_path):
    model = model_of()
    model.density.fit(torch.randn(50, 4), regular=1e-3, seed=0)
    save_state(tmp_path / "model.safetensors", model.state_dict())
    other = model_of(flow=4)
    other.load_state_dict(load_state(tmp_path / "model.safetensors"))
    z = torch.randn(5, 4)
    for name in ("decode", "log_density", "logits"):
        assert torch.equal(getattr(model, name)(z), getattr(other, name)(z))


def test_without_labels_there_is_no_head():
    with pytest.raises(ValueError, match="without labels"):
        model_of(classes=0).logits(torch.zeros(1, 4))


def test_endpoints_the_model_knows_nothing_of_are_refused():
    model = model_of()
    model.density_levels.copy_(torch.tensor([-9.0, -5.0]))
    model.check("x", torch.zeros(2, 4))
    for z, says in (
        (torch.zeros(2, 3), r"x: got shape \(2, 3\), must be \(..., 4\)"),
        (torch.stack([torch.zeros(4), torch.full((4,), 100.0)]), r"x: point 1 lies outside .* must be >= -409"),
        (torch.full((1, 4), torch.nan), "x: point 0 lies outside"),
    ):
        with pytest.raises(ValueError, match=says):
            model.check("x", z)


def test_vectors_have_no_convolutions():
    with pytest.raises(InputError, match=r"model.kind: got 'conv' for samples of shape \(7,\), must be 'mlp'"):
        model_of((7,), kind="conv")

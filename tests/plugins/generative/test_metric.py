import pytest
import torch

from ndm_apps.geometry import christoffel, scalar_curvature
from ndm_apps.plugins.generative.metric import latent_metric
from ndm_apps.plugins.generative.pull_back import pull_back
from tests.plugins.generative.latent import codes, small_model


def test_weight_by_hand():
    model, z = small_model(), codes(7)
    probability = model.logits(z).softmax(-1)
    low, middle = model.density_levels
    rare = 1 / (1 + torch.exp((model.log_density(z) - low) / ((middle - low) / 2)))
    entropy = torch.distributions.Categorical(probability).entropy()
    by_hand = torch.exp(2 * 0.7 * entropy + 2 * 1.5 * (1 - probability[:, 0] - probability[:, 2])) * (1 + 4 * rare)
    metric = latent_metric(model, entropy=0.7, avoid=1.5, density=4.0, keep=(0, 2))
    torch.testing.assert_close(metric.weight(z), by_hand)
    torch.testing.assert_close(metric(z), by_hand[:, None, None] / model.scale * torch.eye(4).double())


@pytest.mark.parametrize(
    "strengths",
    [{}, {"entropy": 0.0}, {"density": 0.0}, {"avoid": 2.0, "keep": (0, 1)}],
)
@pytest.mark.parametrize("kind", ["mixture", "flow"])
def test_weight_and_gradient_are_those_of_differentiation(strengths, kind, monkeypatch):
    monkeypatch.setattr("ndm_apps.plugins.generative.metric._CHUNK", 7)  # more than one chunk
    model, z = small_model(), codes(3, 6).requires_grad_()
    if kind == "flow":
        model.density = model.prior
    metric = latent_metric(model, **strengths)
    weight, gradient = metric.conformal_weight_and_gradient(z)
    torch.testing.assert_close(weight, metric.conformal_weight(z))
    torch.testing.assert_close(gradient, torch.autograd.grad(metric.conformal_weight(z).sum(), z)[0])


def test_gradient_of_the_weight_can_be_differentiated():
    metric, z = latent_metric(small_model(), avoid=2.0, keep=(0, 1)), codes(5)
    for point in z:
        slope = torch.func.jacfwd(lambda p: metric.weight_and_gradient(p[None])[1][0])(point)
        expected = torch.func.hessian(lambda p: metric.weight(p[None])[0])(point)
        torch.testing.assert_close(slope, expected)


def test_gradients_in_float32_far_from_all_components():
    model = small_model()
    far = 40 * codes(50)
    expected = latent_metric(model, entropy=0.0).weight_and_gradient(far)
    found = latent_metric(model.float(), entropy=0.0).weight_and_gradient(far.float())
    for short, long in zip(found, expected, strict=True):
        torch.testing.assert_close(short.double(), long, rtol=1e-4, atol=1e-5)


def test_weight_is_bounded():
    model = small_model()
    far = 1e3 * codes(50)
    most = 3**2.0 * 11.0  # entropy at most log 3, the factor of the density at most 1 + 10
    weight = latent_metric(model, entropy=1.0, density=10.0).weight(torch.cat((far, codes(50))))
    assert (weight >= 1).all() and (weight <= most * (1 + 1e-9)).all()
    assert latent_metric(model, entropy=0.0, density=10.0).weight(far).min() > 10.9


def test_the_metric_without_labels_asks_for_none():
    model = small_model(classes=0)
    assert latent_metric(model, entropy=0.0).weight(codes(3)).shape == (3,)
    with pytest.raises(ValueError, match="entropy must be 0 for a model without labels"):
        latent_metric(model)


def test_head_adds_the_fisher_metric_of_its_prediction():
    model, z = small_model(), codes(5)
    g = latent_metric(model, entropy=0.0, density=0.0, head=0.8)(z)
    for point, matrix in zip(z, g, strict=True):
        slope = torch.func.jacrev(lambda x: model.logits(x).log_softmax(-1))(point)
        probability = model.logits(point).softmax(-1)
        fisher = slope.mT @ torch.diag(probability) @ slope
        torch.testing.assert_close(matrix, torch.eye(4).double() / model.scale + 0.8 * fisher)


@pytest.mark.parametrize("strengths", [{}, {"entropy": 0.0}, {"avoid": 2.0, "keep": (0, 1)}])
def test_curvature_in_closed_form_is_that_of_the_metric(strengths):
    metric, z = latent_metric(small_model(), **strengths), codes(6)
    plain = scalar_curvature(lambda x: metric(x), z)  # differentiates the matrix: a lambda knows no closed form
    assert plain.abs().min() > 1e-3
    torch.testing.assert_close(metric.curvature(z), plain, rtol=1e-7, atol=1e-9)


def test_curvature_with_head():
    metric = latent_metric(small_model(), head=0.5)
    assert not hasattr(metric, "conformal_weight")
    assert metric.curvature(codes(2)).isfinite().all() and christoffel(metric, codes(2)).isfinite().all()


def test_each_path_keeps_to_its_own_classes():
    model, z = small_model(), codes(3, 5)
    keep = torch.tensor([[0, 1], [1, 1], [2, 0]])
    metric = latent_metric(model, avoid=2.0, keep=keep)
    weight = metric.weight(z)
    for k, classes in enumerate(keep.tolist()):
        alone = latent_metric(model, avoid=2.0, keep=classes)
        torch.testing.assert_close(weight[k], alone.weight(z[k]))
        torch.testing.assert_close(metric.weight_and_gradient(z)[1][k], alone.weight_and_gradient(z[k])[1])
        torch.testing.assert_close(metric.part(torch.tensor([k])).weight(z[k : k + 1])[0], weight[k])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"density": -1.0}, "density must be a number of at least 0, got -1.0"),
        ({"entropy": float("nan")}, "entropy must be a number of at least 0, got nan"),
        ({"avoid": 1.0, "keep": (0, 1), "labels": False}, "avoid must be 0 without labels, got 1.0"),
        ({"avoid": 1.0}, "keep must be given with avoid, and only then"),
        ({"keep": (0, 1)}, "keep must be given with avoid, and only then"),
        ({"avoid": 1.0, "keep": (0, 3)}, "keep must hold classes from 0 to 2, got 3"),
        ({"avoid": 1.0, "keep": (0, 1, 2)}, r"keep must be two classes, .* got shape \(3,\)"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        latent_metric(small_model(), **arguments)


@pytest.mark.parametrize("target", ["pixels", "fisher"])
def test_pull_back_is_that_of_the_jacobian(target):
    model, z = small_model(shape=(1, 3, 3)), codes(4)
    for point, matrix in zip(z, pull_back(model, target)(z), strict=True):
        p, jacobian = model.decode(point).flatten(), torch.func.jacrev(lambda x: model.decode(x).flatten())(point)
        weight = torch.ones_like(p) if target == "pixels" else 1 / (p * (1 - p))
        expected = jacobian.mT @ torch.diag(weight) @ jacobian
        torch.testing.assert_close(matrix, expected, rtol=1e-4, atol=1e-6)


def test_pull_back_of_what_is_no_image():
    with pytest.raises(ValueError, match="target must be 'pixels' or 'fisher', got 'ink'"):
        pull_back(small_model(), "ink")
    with pytest.raises(ValueError, match=r"target must be 'pixels' for vectors of shape \(6,\), got 'fisher'"):
        pull_back(small_model(), "fisher")

import math

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.engine.readout import NaturalGradientReadout

SOLVERS = ["lda", "ridge"]


def data(count=300, features=6, classes=4, balanced=False):
    rng = np.random.default_rng(0)
    label = np.arange(count) % classes if balanced else rng.choice(classes, count, p=[0.4, 0.3, 0.2, 0.1])
    x = rng.normal(size=(classes, features))[label] + rng.normal(size=(count, features)) @ rng.normal(
        size=(features, features)
    )
    return torch.from_numpy(x), torch.from_numpy(label)


def fitted(x, label, batch=32, **settings):
    readout = NaturalGradientReadout(x.shape[1], **settings)
    for start in range(0, len(x), batch):
        readout.update(x[start : start + batch], label[start : start + batch])
    return readout


def centred(logits):
    return logits - logits.mean(-1, keepdim=True)


@pytest.mark.parametrize("solver", SOLVERS)
def test_order_and_batches_do_not_matter(solver):
    x, label = data()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    a, b = fitted(x, label, solver=solver), fitted(x[order], label[order], batch=7, solver=solver)
    torch.testing.assert_close(a(x), b(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
def test_merge_is_the_union(solver):
    x, label = data()
    early, late = label < 2, label >= 2  # the parts know different classes
    merged, other = (fitted(x[part], label[part], solver=solver) for part in (early, late))
    merged.merge(other)
    torch.testing.assert_close(merged(x), fitted(x, label, solver=solver)(x), rtol=1e-10, atol=1e-10)


def test_shrunk_merge_keeps_the_larger_set_of_classes():
    x, label = data()
    few = fitted(x[label == 0], label[label == 0])
    many = fitted(x[label > 0], label[label > 0])
    many.merge(few)
    assert many.classes == 4
    assert torch.equal(many.counts, torch.bincount(label).double())


@pytest.mark.parametrize(("balanced", "prior"), [(True, "uniform"), (True, "empirical"), (False, "empirical")])
def test_lda_is_that_of_scikit_learn(balanced, prior):
    x, label = data(balanced=balanced)
    reference = LinearDiscriminantAnalysis(solver="lsqr").fit(x.numpy(), label.numpy())
    expected = torch.from_numpy(reference.decision_function(x.numpy()))
    logits = fitted(x, label, solver="lda", shrinkage=0.0, prior=prior)(x)
    torch.testing.assert_close(centred(logits), centred(expected), rtol=1e-8, atol=1e-8)


def test_ridge_is_that_of_scikit_learn():
    x, label = data()
    readout = fitted(x, label, solver="ridge", shrinkage=0.05)
    alpha = 0.05 * x.square().sum().item() / x.shape[1]
    reference = Ridge(alpha=alpha, fit_intercept=False, solver="cholesky").fit(x.numpy(), np.eye(4)[label.numpy()])
    torch.testing.assert_close(readout(x), torch.from_numpy(reference.predict(x.numpy())), rtol=1e-10, atol=1e-12)


def test_shrinkage_is_invariant_to_the_unit_of_the_features():
    x, label = data()
    plain, scaled = (fitted(unit * x, label, shrinkage=0.3) for unit in (1.0, 1e4))
    torch.testing.assert_close(plain(x), scaled(1e4 * x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_classes_grow_and_unseen_ones_are_impossible(solver):
    x, _ = data()
    readout = NaturalGradientReadout(6, solver=solver)
    readout.update(x[:50], torch.ones(50, dtype=torch.int32))
    assert readout(x).shape == (300, 2)
    readout.update(x[50:90], torch.full((40,), 3))
    logits = readout(x[:5].reshape(5, 1, 6))
    assert logits.shape == (5, 1, 4)
    assert (logits[..., [0, 2]] == -math.inf).all() and torch.isfinite(logits[..., [1, 3]]).all()


def test_solved_once_and_again_after_an_update():
    x, label = data()
    readout = fitted(x, label)
    before = readout.solution()
    assert readout.solution() is before
    readout.update(x[:0], label[:0])
    assert readout.solution() is before
    readout.update(x[:1], label[:1])
    assert readout.solution() is not before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_state_round_trip_with_grown_shapes(tmp_path, dtype):
    x, label = data()
    readout = fitted(x, label, dtype=dtype)
    save_state(tmp_path / "s", readout.state_dict())
    other = fitted(x[:3], torch.tensor([0, 8, 1]), dtype=dtype)
    other(x)
    other.load_state_dict(load_state(tmp_path / "s"))
    assert torch.equal(other(x), readout(x))
    nested = torch.nn.Sequential(NaturalGradientReadout(6, dtype=dtype))
    nested.load_state_dict(torch.nn.Sequential(readout).state_dict())
    assert torch.equal(nested(x), readout(x))


def test_output_dtype_is_that_of_the_features():
    x, label = data()
    assert fitted(x, label)(x.float()).dtype == torch.float32
    single = fitted(x.float(), label, dtype=torch.float32, shrinkage=0.1)
    torch.testing.assert_close(single(x.float()).double(), fitted(x, label, shrinkage=0.1)(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("phi", "labels", "message"),
    [
        (torch.full((2, 6), math.nan), torch.tensor([0, 9]), "row 0"),
        (torch.tensor([[0.0] * 6, [0.0] * 5 + [math.inf]]), torch.tensor([0, 9]), "row 1"),
        (torch.zeros(2, 5), torch.tensor([0, 9]), r"\(batch, 6\)"),
        (torch.zeros(2, 6), torch.tensor([0]), r"\(2,\)"),
        (torch.zeros(2, 6), torch.tensor([0.0, 1.0]), "float32"),
        (torch.zeros(2, 6), torch.tensor([-1, 9]), "at least 0, got -1"),
    ],
)
def test_wrong_samples_leave_no_trace(phi, labels, message):
    x, label = data()
    readout = fitted(x, label)
    before = {name: value.clone() for name, value in readout.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        readout.update(phi, labels)
    after = readout.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_too_few_samples():
    x, label = data()
    with pytest.raises(ValueError, match="no samples"):
        NaturalGradientReadout(6)(x)
    with pytest.raises(ValueError, match="shrinkage must be larger for 3 samples of 6 features"):
        fitted(x[:3], label[:3], solver="ridge", shrinkage=0.0)(x)
    assert torch.isfinite(fitted(x[:3], label[:3], shrinkage=0.1).solution()[0]).all()


def test_one_sample_of_each_class_is_enough():
    x, _ = data(count=3)
    readout = fitted(x, torch.arange(3))
    assert readout(x).argmax(-1).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "arguments",
    [{"features": 0}, {"solver": "svm"}, {"shrinkage": -1.0}, {"prior": "flat"}, {"dtype": torch.float16}],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
        NaturalGradientReadout(**{"features": 2, **arguments})
    with pytest.raises(ValueError, match="other"):
        NaturalGradientReadout(2).merge(NaturalGradientReadout(3))

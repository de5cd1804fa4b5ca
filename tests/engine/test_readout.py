import math

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.engine.readout import NaturalGradientReadout

SOLVERS = ["lda", "ridge"]
RANKS = [None, 3, 200]  # the metric whole, as a sketch, and as a sketch that has room for all the samples


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
def test_order_does_not_matter_in_float32_far_from_the_origin(solver):
    x, label = (part[:2000] for part in data(count=2000))
    x = (x + 100.0).float()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    a = fitted(x, label, solver=solver, dtype=torch.float32)
    b = fitted(x[order], label[order], batch=7, solver=solver, dtype=torch.float32)
    exact = fitted(x.double(), label, solver=solver)(x.double())
    scale = (exact.max() - exact.min()).item()
    torch.testing.assert_close(a(x), b(x), rtol=0, atol=1e-4 * scale)
    torch.testing.assert_close(a(x).double(), exact, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_scatter_is_that_about_the_class_means(batch):
    x, label = data()
    readout = fitted(x, label, batch=batch)
    means = torch.stack([x[label == c].mean(0) for c in range(4)])
    torch.testing.assert_close(readout.means, means, rtol=1e-12, atol=1e-12)
    within = (x - means[label]).mT @ (x - means[label])
    torch.testing.assert_close(readout.scatter.dense(), within, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(readout.trace, within.trace(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("parts", ["classes", "samples"])
@pytest.mark.parametrize("rank", [None, 200])
def test_merge_is_the_union(solver, parts, rank):
    x, label = data()
    early = label < 2 if parts == "classes" else torch.arange(len(x)) < 100
    merged, other = (fitted(x[part], label[part], solver=solver, rank=rank) for part in (early, ~early))
    before = other(x)
    merged.merge(other)
    torch.testing.assert_close(merged(x), fitted(x, label, solver=solver)(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(merged.trace, fitted(x, label).trace, rtol=1e-10, atol=0)
    assert torch.equal(other(x), before)


def test_merge_into_an_empty_one_is_a_copy():
    x, label = data()
    full, empty = fitted(x, label), NaturalGradientReadout(6)
    empty.merge(full)
    full.merge(NaturalGradientReadout(6))
    torch.testing.assert_close(empty(x), full(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_sketch_with_room_is_exact(solver):
    x, label = data()
    torch.testing.assert_close(
        fitted(x, label, solver=solver, rank=200)(x), fitted(x, label, solver=solver)(x), rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_sketch_classifies_almost_as_well_and_is_small(solver):
    rng = np.random.default_rng(0)
    label = torch.from_numpy(rng.integers(5, size=2000))
    mixing = rng.normal(size=(64, 64)) * np.arange(1, 65) ** -1.0
    x = torch.from_numpy(rng.normal(size=(5, 64))[label] * 0.3 + rng.normal(size=(2000, 64)) @ mixing.T)
    exact, sketch = (fitted(x, label, solver=solver, rank=rank) for rank in (None, 16))
    right = [(readout(x).argmax(-1) == label).double().mean() for readout in (exact, sketch)]
    assert right[0] > 0.8 and right[1] > right[0] - 0.05
    assert NaturalGradientReadout(2048, rank=16).memory < 0.1 * NaturalGradientReadout(2048).memory


def test_memory_is_that_of_half_the_matrix_twice():
    readout = NaturalGradientReadout(6000, dtype=torch.float32)
    half = 4 * 6000 * 6001 / 2
    assert 2 * half < readout.memory < 2.4 * half


def test_shrunk_merge_keeps_the_larger_set_of_classes():
    x, label = data()
    few = fitted(x[label == 0], label[label == 0])
    many = fitted(x[label > 0], label[label > 0])
    many.merge(few)
    assert many.classes == 4
    assert torch.equal(many.counts, torch.bincount(label).double())


@pytest.mark.parametrize("rank", RANKS)
def test_resumed_stream_is_the_same_to_the_bit(tmp_path, rank):
    x, label = data(count=1200)
    readout = fitted(x[:700], label[:700], rank=rank)
    save_state(tmp_path / "s", readout.state_dict())
    resumed = NaturalGradientReadout(6, rank=rank)
    resumed.load_state_dict(load_state(tmp_path / "s"))
    for part in (readout, resumed):
        part.update(x[700:], label[700:])
    assert torch.equal(resumed(x), readout(x))


def test_single_samples_and_empty_batches():
    x, label = data()
    readout = fitted(x, label, batch=1)
    readout.update(x[:0], label[:0])
    torch.testing.assert_close(readout(x), fitted(x, label)(x), rtol=1e-9, atol=1e-9)


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
@pytest.mark.parametrize("rank", RANKS)
def test_state_round_trip_with_grown_shapes(tmp_path, dtype, rank):
    x, label = data()
    readout = fitted(x, label, dtype=dtype, rank=rank)
    save_state(tmp_path / "s", readout.state_dict())
    other = fitted(x[:3], torch.tensor([0, 8, 1]), dtype=dtype, rank=rank)
    other(x)
    other.load_state_dict(load_state(tmp_path / "s"))
    assert torch.equal(other(x), readout(x))
    nested = torch.nn.Sequential(NaturalGradientReadout(6, dtype=dtype, rank=rank))
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
        (torch.zeros(2, 6), torch.tensor([0, 12]), "below 12, got 12"),
        (torch.full((2, 6), 1e200, dtype=torch.float64), torch.tensor([10, 11]), "squares"),
    ],
)
@pytest.mark.parametrize("rank", [None, 3])
def test_wrong_samples_leave_no_trace(phi, labels, message, rank):
    x, label = data()
    readout = fitted(x, label, classes=12, rank=rank)
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
    [
        {"features": 0},
        {"solver": "svm"},
        {"shrinkage": -1.0},
        {"prior": "flat"},
        {"dtype": torch.float16},
        {"classes": 0},
        {"rank": 0},
    ],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
        NaturalGradientReadout(**{"features": 2, **arguments})


@pytest.mark.parametrize("other", [{"features": 3}, {"features": 2, "rank": 4}])
def test_what_does_not_fit_is_not_merged(other):
    with pytest.raises(ValueError, match="other must have"):
        NaturalGradientReadout(2).merge(NaturalGradientReadout(**other))
    x, label = data()
    with pytest.raises(ValueError, match="labels below 2, got 3"):
        NaturalGradientReadout(6, classes=2).merge(fitted(x, label))


@pytest.mark.parametrize("rank", [None, 200])
@pytest.mark.parametrize("solver", SOLVERS)
def test_faded_samples_count_less(solver, rank):
    x, label = data(count=120)
    faded = NaturalGradientReadout(x.shape[1], solver=solver, rank=rank)
    weight = torch.ones(120, dtype=torch.float64)
    for start in range(0, 120, 30):
        faded.fade(0.5)
        weight[:start] *= 0.5
        faded.update(x[start : start + 30], label[start : start + 30])
    counts = torch.zeros(4, dtype=torch.float64).index_add_(0, label, weight)
    means = torch.zeros(4, 6, dtype=torch.float64).index_add_(0, label, weight[:, None] * x) / counts[:, None]
    centred_rows = x - means[label]
    torch.testing.assert_close(faded.counts, counts)
    torch.testing.assert_close(faded.means, means)
    torch.testing.assert_close(faded.scatter.dense(), centred_rows.mT @ (weight[:, None] * centred_rows))
    torch.testing.assert_close(float(faded.trace), float((weight[:, None] * centred_rows.square()).sum()))


def test_fading_refuses_factors_that_grow():
    for factor in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="factor must be in"):
            NaturalGradientReadout(2).fade(factor)

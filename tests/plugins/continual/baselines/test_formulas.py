"""Losses, penalties and statistics of the baselines, against their formulas."""

import copy

import torch
from avalanche.training.supervised import StreamingLDA
from torch import nn
from torch.nn.functional import cross_entropy

from ndm_apps.plugins.continual.baselines.densities import Components, log_densities
from ndm_apps.plugins.continual.baselines.herding import herd
from ndm_apps.plugins.continual.baselines.lda import FourierFeatures
from ndm_apps.plugins.continual.baselines.networks import Standardise
from tests.plugins.continual.baselines.learners import feed, logits, make, pieces
from tests.plugins.continual.blobs import blobs

F64 = torch.float64


def step(learner, stream):
    """Return the parameters after the stream, with those before its last piece."""
    feed(learner, stream[:-1])
    before = copy.deepcopy(learner.model)
    feed(learner, stream[-1:])
    return before, learner.model


def assert_stepped(before, after, loss, rate):
    """Check that one step of gradient descent on the loss leads from one network to the other."""
    grads = torch.autograd.grad(loss, list(before.parameters()))
    for old, new, grad in zip(before.parameters(), after.parameters(), grads, strict=True):
        torch.testing.assert_close(new, old - rate * grad)


def last(stream):
    return stream[-1].dataset._datasets[0].tensors


def stream_of(method):
    return pieces(method, dtype=F64, count=64, split=((0, 1), (2, 3)))


def drawn(learner_factory, stream, count):
    """Return what the store gives out before the last piece."""
    twin = feed(learner_factory(), stream[:-1])
    store = next(plugin.store for plugin in twin.plugins if hasattr(plugin, "store"))
    return store.draw(count)


def test_der_replays_logits_and_labels():
    stream = stream_of("der")

    def fresh():
        return make("der", dtype=F64, alpha=0.3, beta=0.7, replayed=16)

    before, after = step(fresh(), stream)
    x, y = last(stream)
    stored, labels, answers = drawn(fresh, stream, 32)
    loss = cross_entropy(before(x), y)
    loss = loss + 0.3 * (before(stored[:16]) - answers[:16]).square().mean()
    loss = loss + 0.7 * cross_entropy(before(stored[16:]), labels[16:])
    assert_stepped(before, after, loss, 0.1)


def test_der_stores_the_logits_of_the_moment_a_sample_came():
    learner = make("der", dtype=F64, exemplars=1000)
    stream = stream_of("der")
    before = copy.deepcopy(learner.model)
    feed(learner, stream[:1])
    x, y, z = learner.plugins[0].store.columns
    assert torch.equal(x, last(stream[:1])[0]) and torch.equal(y, last(stream[:1])[1])
    torch.testing.assert_close(z, before(x).detach())


def test_replay_joins_the_mini_batch():
    stream = stream_of("replay")

    def fresh():
        return make("replay", dtype=F64, replayed=20)

    before, after = step(fresh(), stream)
    x, y = last(stream)
    stored, labels = drawn(fresh, stream, 20)
    assert_stepped(before, after, cross_entropy(before(torch.cat([x, stored])), torch.cat([y, labels])), 0.1)


def test_ace_sets_new_samples_apart_from_the_classes_of_their_mini_batch_only():
    stream = stream_of("er_ace")

    def fresh():
        return make("er_ace", dtype=F64, replayed=20)

    before, after = step(fresh(), stream)
    x, y = last(stream)
    stored, labels = drawn(fresh, stream, 20)
    assert y.unique().tolist() == [2, 3]
    loss = cross_entropy(before(x)[:, 2:4], y - 2) + cross_entropy(before(stored), labels)
    assert_stepped(before, after, loss, 0.1)


def test_elastic_weights_pull_back_by_the_squared_gradients():
    stream = pieces("ewc", dtype=F64, count=32, split=((0, 1), (2, 3)))
    learner = feed(make("ewc", dtype=F64, strength=5.0), stream[:1])
    anchor = [p.detach().clone() for p in learner.model.parameters()]
    x, y = last(stream[:1])
    gradients = torch.autograd.grad(cross_entropy(learner.model(x), y), list(learner.model.parameters()))
    # Away from the anchor, where the penalty has a gradient.
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter += 0.1
    before = copy.deepcopy(learner.model)
    feed(learner, stream[1:])
    x, y = last(stream)
    loss = cross_entropy(before(x), y)
    for parameter, old, gradient in zip(before.parameters(), anchor, gradients, strict=True):
        loss = loss + 5.0 * (gradient.square() * (parameter - old).square()).sum()
    assert_stepped(before, learner.model, loss, 0.1)


def test_distillation_keeps_the_answers_on_old_classes():
    stream = pieces("lwf", dtype=F64, count=32, split=((0, 1), (2, 3)))
    learner = feed(make("lwf", dtype=F64, strength=2.0, temperature=3.0), stream[:1])
    teacher = copy.deepcopy(learner.model)
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter += 0.1
    before = copy.deepcopy(learner.model)
    feed(learner, stream[1:])
    x, y = last(stream)
    target = (teacher(x)[:, :2] / 3).softmax(1).detach()
    divergence = (target * (target.log() - (before(x)[:, :2] / 3).log_softmax(1))).sum(1).mean()
    assert_stepped(before, learner.model, cross_entropy(before(x), y) + 2.0 * divergence, 0.1)


def test_icarl_distils_old_classes_and_labels_new_ones():
    stream = pieces("icarl", dtype=F64, count=32, split=((0, 1), (2, 3)))
    learner = feed(make("icarl", dtype=F64, exemplars=8), stream[:1])
    before = copy.deepcopy(learner.model).train()
    old, labels = learner.plugins[0].store.tensors()
    generator = copy.deepcopy(learner.plugins[0].generator)
    learner.train_mb_size = 40  # one step
    feed(learner, stream[1:])
    x, y = last(stream)
    x, y = torch.cat([x, old]), torch.cat([y, labels])
    targets = nn.functional.one_hot(y, 6).to(F64)
    targets[:, :2] = before(x)[:, :2].sigmoid().detach()
    losses = nn.functional.binary_cross_entropy_with_logits(before(x), targets, reduction="none")
    assert len(torch.randperm(40, generator=generator)) == len(x)
    assert_stepped(before, learner.model, losses.sum(1).mean(), 0.1)


def test_herding_keeps_the_mean():
    rows = torch.randn(300, 5, dtype=F64, generator=torch.Generator().manual_seed(0))
    chosen = herd(rows, 40)
    assert len(set(chosen.tolist())) == 40
    herded = (rows[chosen].mean(0) - rows.mean(0)).norm()
    assert herded < 0.1 * (rows[:40].mean(0) - rows.mean(0)).norm()
    assert herd(rows[:3], 10).sort().values.tolist() == [0, 1, 2]


def test_icarl_predicts_the_nearest_mean_of_exemplars():
    learner = feed(make("icarl"), pieces("icarl"))
    x, _ = blobs([0, 2, 4], 100, 5)
    model = learner.model.eval()
    means = [model.features(kept).mean(0) for kept in learner.plugins[0].store.by_class.values()]
    means = torch.stack([mean / mean.norm() for mean in means])
    distances = torch.cdist(model.features(x), means).square()
    torch.testing.assert_close(
        logits(learner, x), -distances[:, torch.tensor(list_of_order(learner))], atol=1e-5, rtol=0
    )


def list_of_order(learner):
    classes = list(learner.plugins[0].store.by_class)
    return [classes.index(label) for label in range(6)]


def test_streaming_lda_is_avalanches_sample_by_sample():
    learner = feed(make("slda", dtype=F64, shrinkage=0.01), pieces("slda", dtype=F64, split=((0, 1), (2, 5))))
    reference = StreamingLDA(
        slda_model=nn.Flatten(),
        criterion=nn.CrossEntropyLoss(),
        input_size=10,
        num_classes=6,
        shrinkage_param=0.01,
        evaluator=None,
    )
    for name in ("muK", "cK", "Sigma"):
        setattr(reference, name, getattr(reference, name).double())
    for seed, classes in enumerate(((0, 1), (2, 5))):
        for x, y in zip(*blobs(list(classes), 320, seed), strict=True):
            reference.fit(x.double()[None], y[None])
    x, _ = blobs([0, 1, 2, 5], 100, 9)
    covariance = 0.99 * reference.Sigma + 0.01 * torch.eye(10, dtype=F64)
    weight = torch.linalg.solve(covariance, reference.muK.T)
    expected = x.double() @ weight - (reference.muK.T * weight).sum(0) / 2
    got = logits(learner, x.double())
    torch.testing.assert_close(learner.Sigma, reference.Sigma)
    torch.testing.assert_close(got[:, [0, 1, 2, 5]], expected[:, [0, 1, 2, 5]])
    assert (got[:, [3, 4]] == -torch.inf).all()


def test_standardised_inputs_have_the_mean_and_spread_of_the_first_training_batch_for_good():
    layer = Standardise((2, 3)).double()
    x = 5 + 3 * torch.randn(40, 2, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(layer.eval()(x), x)
    first = layer.train()(x)
    torch.testing.assert_close(first.mean(0), torch.zeros(2, 3, dtype=F64))
    torch.testing.assert_close(first.square().mean(), torch.ones((), dtype=F64))
    assert torch.equal(layer(x[:7] + 1), layer.eval()(x[:7] + 1))
    torch.testing.assert_close(layer(x[:7] + 1) - first[:7], (1 / layer.scale).expand(7, 2, 3))


def test_fourier_features_have_the_gaussian_kernel():
    features = FourierFeatures(10, 200_000, bandwidth=0.7, seed=0, dtype=F64)
    x = torch.randn(8, 10, dtype=F64, generator=torch.Generator().manual_seed(0))
    z = features(x)
    # Their root mean square distance, from the differences themselves.
    square = torch.cdist(x, x).square()
    width = 0.7 * square.mean().sqrt()
    torch.testing.assert_close(z @ z.T / 200_000, torch.exp(-square / (2 * width**2)), atol=0.012, rtol=0)
    torch.testing.assert_close(features(2 * x[:3]), features(2 * x)[:3])


def test_components_are_those_of_their_samples_however_they_came():
    z = torch.randn(90, 4, dtype=F64, generator=torch.Generator().manual_seed(0))
    parts = Components.none(z, 4)
    parts.open(z[:20], 3)
    parts.open(z[:5] + 9, 1)
    for more in z[20:].split(17):
        parts.join(0, more)
    torch.testing.assert_close(parts.means[0], z.mean(0))
    torch.testing.assert_close(parts.scatters[0] / 89, z.T.cov())
    assert parts.counts.tolist() == [90, 5] and parts.labels.tolist() == [3, 1]


def test_log_densities_are_those_of_gaussians():
    generator = torch.Generator().manual_seed(0)
    z, means = (torch.randn(n, 3, dtype=F64, generator=generator) for n in (7, 2))
    roots = torch.randn(2, 3, 3, dtype=F64, generator=generator)
    covariances = roots @ roots.mT + torch.eye(3, dtype=F64)
    expected = torch.stack(
        [torch.distributions.MultivariateNormal(m, c).log_prob(z) for m, c in zip(means, covariances, strict=True)], 1
    )
    torch.testing.assert_close(log_densities(z, means, covariances), expected)


def test_a_class_of_two_clusters_gets_two_components_and_a_gaussian_one_only_one():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(600) % 2
    x = torch.randn(600, 3, generator=generator)
    x[:300, 0] -= 12 * (y[:300] == 0)
    x[300:, 0] += 12 * (y[300:] == 0)
    learner = make("densities", shape=(3,), dimension=3, warmup=32, memory=30)
    for batch, labels in zip(x.split(32), y.split(32), strict=True):
        learner.model.learn(batch, labels)
    assert sorted(learner.model._components.labels.tolist()) == [0, 0, 1]

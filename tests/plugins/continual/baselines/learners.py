"""Baselines on small streams, as the tests make them."""

import torch

from ndm_apps.plugins.continual.baselines.build import build
from ndm_apps.plugins.continual.baselines.settings import METHODS
from ndm_apps.plugins.continual.resident import experiences, online_experience
from tests.plugins.continual.blobs import blobs

CLASSES = 6

# Small settings with which every baseline runs in a moment, and those that differ from a method's defaults.
SMALL = {
    name: {"hidden": (32,), "learning_rate": 0.1}
    for name, settings in METHODS.items()
    if "hidden" in settings.model_fields
}
for changed in ("replay", "replay_500", "er_ace", "der", "gdumb"):
    SMALL[changed]["exemplars"] = 60
SMALL["joint"]["epochs"] = 3
SMALL["randumb"] = {"width": 100}
SMALL["densities"] = {"dimension": 6, "warmup": 100, "memory": 40}
SMALL["icarl"]["exemplars"] = 60


def make(method, *, seed=0, dtype=torch.float32, shape=(10,), **settings):
    common = {"train_mb_size": 32, "eval_mb_size": 512, "device": "cpu", "evaluator": None}
    chosen = METHODS[method](**{**SMALL.get(method, {}), **settings})
    return build(chosen, shape, CLASSES, common, seed=seed, dtype=dtype)


def needs_boundaries(method):
    return getattr(METHODS[method], "needs_boundaries", False)


def pieces(method, *, dtype=torch.float32, shape=(10,), count=320, split=((0, 1), (2, 3), (4, 5))):
    """Return what is handed to the method, one after the other: experiences, or mini-batches."""
    whole = [blobs(list(classes), count, seed) for seed, classes in enumerate(split)]
    whole = [(x.to(dtype).reshape(-1, *shape), y) for x, y in whole]
    if needs_boundaries(method):
        return [experiences("train", [arrays])[0] for arrays in whole]
    batches = [pair for x, y in whole for pair in zip(x.split(32), y.split(32), strict=True)]
    return [online_experience(x, y, number) for number, (x, y) in enumerate(batches)]


def feed(learner, stream):
    for experience in stream:
        learner.train(experience, eval_streams=[], shuffle=False)
    return learner


@torch.no_grad()
def logits(learner, x):
    learner.model.eval()
    learner.is_training = False
    learner.experience = None
    learner.mbatch = [x]
    return learner.forward()


def accuracy(learner, classes=range(CLASSES)):
    x, y = blobs(list(classes), 600, 99)
    return float((logits(learner, x).argmax(1) == y).float().mean())

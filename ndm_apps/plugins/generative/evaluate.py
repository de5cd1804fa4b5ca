"""What a latent model is worth: its paths between images, its samples, and its warnings, by an independent judge.

Four stages - the judge, paths, samples, trust - each saved when it is done: a run that is resumed goes on after the
last of them, to the same result. Each stage draws from a generator of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ndm_apps.plugins.base import Picture, RunContext
from ndm_apps.plugins.generative import drawn, trust
from ndm_apps.plugins.generative import samples as ways
from ndm_apps.plugins.generative.compared import PLAIN, Pairs, draw_pairs, labelled, names, walked
from ndm_apps.plugins.generative.data import Split
from ndm_apps.plugins.generative.judge import Judge, load_judge, train_judge
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.pictures import SIDE
from ndm_apps.plugins.generative.schema import GenerativeTask, Score
from ndm_apps.plugins.generative.scores import Even, Reference, even, interior_frechet, path_scores, summary
from ndm_apps.plugins.generative.settings import LatentSettings
from ndm_apps.plugins.generative.train import codes
from ndm_apps.plugins.generative.walk import random_walk

#: Nodes of a path that is scored, and of one that samples are drawn from; points whose trust scores are judged.
NODES, SAMPLED_NODES, TRUSTED = 33, 17, 500
_JUDGE, _PAIRS, _SAMPLES, _TRUST = range(4)


def evaluate(
    model: LatentModel,
    split: Split,
    task: GenerativeTask,
    settings: LatentSettings,
    context: RunContext,
    *,
    saved: dict[str, Any] | None,
    save: Callable[[dict[str, Any]], None],
) -> tuple[dict[str, Any], dict[str, Picture]]:
    """Return the values and pictures of a trained model.

    Parameters
    ----------
    model, split, task, settings, context
        Of the run.
    saved
        What ``save`` was given last, or None.
    save
        Called with everything that is known, after each stage.

    Raises
    ------
    InputError
        If the test images do not make as many pairs as the task asks for.
    """
    state = dict(saved or {})

    def stage(name: str, compute: Callable[[], Any], number: int) -> Any:
        if name not in state:
            context.progress(number, 4, f"evaluation: {name}")
            state[name] = compute()
            save(state)
        return state[name]

    shape = tuple(split.x_test.shape[1:])
    judge = load_judge(stage("judge", lambda: _judge(split, settings, context), 0), shape, split.classes, split.x_test)
    reading = judge.read(split.x_test)
    right = reading.label == split.y_test
    pairs = draw_pairs(split.y_test, right, task.score.pairs, generator(context, _PAIRS))
    code = codes(model, split.x_test).mean
    others = torch.ones_like(right).index_fill(0, pairs.images.flatten(), False)
    reference = Reference.of(split.x_test[others], judge)
    of_all = Reference.of(split.x_test, judge)

    made = stage("paths", lambda: _paths(model, settings, code, pairs), 1)
    paths = {name: even(one["nodes"].to(code), task.score.points, model.decode, judge) for name, one in made.items()}
    scores = {
        name: path_scores(one, pairs.classes[pairs.of(name)], judge, reference, task.score.low)
        for name, one in paths.items()
    }
    interpolation = _interpolation(made, paths, scores, pairs, of_all)
    sampled = stage("samples", lambda: _samples(model, split, settings, context, task.score, judge, of_all), 2)
    trusted = stage("trust", lambda: _trust(model, settings, context, task.score, judge, reference, paths, scores), 3)
    values = {
        "judge": {
            "accuracy": right.double().mean().item(),
            "confidence": reading.confidence.mean().item(),
            "images": len(split.x_judge),
        },
        "interpolation": interpolation,
        "samples": sampled["values"],
        "trust": trusted,
    }
    pictures = {
        **drawn.of_paths(paths, pairs, reference, task.score.low),
        **drawn.of_samples(model, sampled["values"], sampled["shown"]),
        **drawn.of_latent_space(
            model, settings, code[pairs.images[~pairs.same, 0]], pairs.classes[~pairs.same, 0], NODES
        ),
        **drawn.of_classes(model, settings, split, code),
        **drawn.of_trust(trusted),
    }
    return {**values, "verdict": verdict(values)}, pictures


def generator(context: Any, stage: int) -> torch.Generator:
    """Return the generator of a stage of a run, on the run's device; ``context`` knows ``seed`` and ``device``."""
    return torch.Generator(context.device).manual_seed(stage_seed(context.seed, stage))


def stage_seed(seed: int, stage: int) -> int:
    """Return a seed for a stage that is apart from those of other stages and runs."""
    return int(np.random.default_rng([seed, 8, stage]).integers(2**31, 2**32))


def verdict(values: dict[str, Any]) -> str:
    """Return the result in one sentence."""
    found, sampled = values["interpolation"], values["samples"]
    low = {name: one["different"]["low"] for name, one in found.items()}
    told = f"{low['line']:.1%} on straight lines and {low['slerp']:.1%} on great arcs"
    if "geodesic" in low:
        told = f"{low['geodesic']:.1%} on geodesics, {told}"
    return (
        f"Between images of two classes, the judge is in doubt at {told}; samples are at a Fréchet distance of "
        f"{sampled['density']['frechet']:.1f} from the density of codes, {sampled['prior']['frechet']:.1f} from the "
        f"prior; the judge is right on {values['judge']['accuracy']:.1%} of real images."
    )


def _judge(split: Split, settings: LatentSettings, context: RunContext) -> dict[str, Any]:
    judge = train_judge(
        split.x_judge,
        split.y_judge,
        split.classes,
        epochs=settings.judge.epochs,
        seed=stage_seed(context.seed, _JUDGE),
        on_step=lambda step, steps: context.progress(step, steps, "training the judge") if step % 50 == 0 else None,
    )
    return judge.state_dict()


def _paths(model: LatentModel, settings: LatentSettings, code: Tensor, pairs: Pairs) -> dict[str, Any]:
    found = {}
    for name in names(model, settings):
        own = pairs.of(name)
        x, y = code[pairs.images[own]].unbind(1)
        found[name] = walked(name, model, settings, x, y, pairs.classes[own], NODES)._asdict()
    return found


def _interpolation(
    made: dict[str, Any], paths: dict[str, Even], scores: dict[str, dict[str, Tensor]], pairs: Pairs, real: Reference
) -> dict[str, Any]:
    found = summary(scores, {name: pairs.of(name) for name in scores}, pairs.same, PLAIN)
    for name, one in found.items():
        same = pairs.same[pairs.of(name)]
        one["same"]["frechet"] = interior_frechet(paths[name], same, real)
        one["different"]["frechet"] = interior_frechet(paths[name], ~same, real)
        one["frechet"] = interior_frechet(paths[name], same | ~same, real)
        converged = made[name]["converged"]
        one["converged"] = None if converged is None else converged.double().mean().item()
        one["milliseconds"] = made[name]["milliseconds"]
    return found


def _samples(
    model: LatentModel,
    split: Split,
    settings: LatentSettings,
    context: RunContext,
    score: Score,
    judge: Judge,
    real: Reference,
) -> dict[str, Any]:
    draws = generator(context, _SAMPLES)
    code = codes(model, split.x).mean
    geodesic = "geodesic" in settings.paths
    found = ways.drawn(
        model,
        code,
        score.samples,
        draws,
        (lambda x, y: walked("geodesic", model, settings, x, y, x.new_zeros(len(x), 2).long(), SAMPLED_NODES).nodes)
        if geodesic
        else None,
        (lambda start, gen: random_walk(model, start, gen, **labelled(model, settings.metric))) if geodesic else None,
    )
    test = codes(model, split.x_test).mean[: score.samples]
    found = {"reconstruction": (test, 1.0), **found}
    return {
        "values": ways.scored(found, model.decode, judge, real, score.low),
        "shown": {name: z[: SIDE**2] for name, (z, _) in found.items()},
    }


def _trust(
    model: LatentModel,
    settings: LatentSettings,
    context: RunContext,
    score: Score,
    judge: Judge,
    reference: Reference,
    paths: dict[str, Even],
    scores: dict[str, dict[str, Tensor]],
) -> dict[str, Any]:
    draws, strengths = generator(context, _TRUST), labelled(model, settings.metric)
    count = min(TRUSTED, score.samples)
    points = {"density": model.sample(count, draws), "prior": model.prior.sample(count, draws)}
    compared = [name for name in ("line", "geodesic") if name in paths]
    return {
        "images": {
            name: trust.of_points(model, strengths, z, judge, reference, score.low) for name, z in points.items()
        },
        "paths": {name: trust.of_paths(model, strengths, paths[name], scores[name]) for name in compared},
    }

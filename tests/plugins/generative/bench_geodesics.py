"""Geodesics in trained latent spaces: what a pair costs, whether it comes to rest, and what its energy is worth.

    python -m tests.plugins.generative.bench_geodesics MODEL... [--write]

MODEL is a file of :func:`~ndm_apps.engine.checkpoint.save_state` with shape, classes, config and model. One thread;
times are CPU time of this process. The energy of the geodesic is compared with the line's, and with that of a
solution on 129 nodes, all on 256 chords.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from ndm_apps import provenance
from ndm_apps.engine.checkpoint import load_state
from ndm_apps.geometry.discrete_energy import energy_and_gradient, resample
from ndm_apps.geometry.structured import as_finsler
from ndm_apps.plugins.generative.metric import latent_metric
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.model_settings import AutoencoderSettings, DensitySettings, HeadSettings
from ndm_apps.plugins.generative.paths import geodesic_paths, line
from tests.benchmark import table

BATCH, ALONE, REFERENCE, SEED = 256, 12, 32, 1000
STRENGTHS = {
    "entropy 1, density 10": {},
    "density 30, no labels": {"entropy": 0.0, "density": 30.0},
    "entropy 1, avoid 2, density 10": {"avoid": 2.0},
}


def restored(path):
    """Return the model in a file of settings and weights."""
    state = load_state(path)
    parts = {
        key: {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        for key, values in state["config"].items()
    }
    model = LatentModel(
        state["shape"],
        state["classes"],
        AutoencoderSettings(**parts["model"]),
        DensitySettings(**parts["density"]),
        HeadSettings(**parts["head"]),
    )
    model.load_state_dict(state["model"])
    return model.eval().requires_grad_(False)


def cpu_seconds(job):
    began = time.process_time()
    result = job()
    return time.process_time() - began, result


def measured(name, model, label, strengths):
    """Return a row of the table."""
    generator = torch.Generator().manual_seed(SEED)
    x, y = model.sample(2 * BATCH, generator).split(BATCH)
    if "avoid" in strengths:
        keep = torch.stack([model.logits(end).argmax(-1) for end in (x, y)], -1)
        metric = latent_metric(model, keep=keep, **strengths)
    else:
        metric = latent_metric(model, **strengths)
    geodesic_paths(metric.part(torch.arange(2)), x[:2], y[:2])  # the first call makes sure that torch is awake
    seconds, paths = cpu_seconds(lambda: geodesic_paths(metric, x, y))
    alone = []
    for k in range(ALONE):
        one = metric.part(torch.tensor([k]))
        alone.append(cpu_seconds(lambda k=k, one=one: geodesic_paths(one, x[k : k + 1], y[k : k + 1]))[0])
    some = torch.arange(REFERENCE)
    norm = as_finsler(metric.part(some))
    best = geodesic_paths(metric.part(some), x[some], y[some], 129)
    energy = {
        kind: energy_and_gradient(norm, resample(curve, 256))[0]
        for kind, curve in (("line", line(x[some], y[some], 129)), ("ours", paths.points[some]), ("best", best.points))
    }
    excess = energy["ours"] / energy["best"] - 1
    return {
        "model": name,
        "metric": label,
        f"ms a pair, {BATCH} together": 1e3 * seconds / BATCH,
        "ms alone, median": 1e3 * sorted(alone)[ALONE // 2],
        "ms alone, worst": 1e3 * max(alone),
        "converged": f"{int(paths.converged.sum())} of {BATCH}",
        "energy / line's": float((energy["ours"] / energy["line"]).mean()),
        "excess over 129 nodes, median": float(excess.median()),
        "excess, worst": float(excess.max()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help="write results/generative/geodesics.{json,md}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for path in arguments.models:
        model = restored(path)
        for label, strengths in STRENGTHS.items():
            if model.classes or "no labels" in label:
                rows.append(measured(path.stem, model, label, strengths))
                print(table(rows[-1:]).splitlines()[-1], flush=True)
    if arguments.write:
        output = Path("results/generative")
        output.mkdir(parents=True, exist_ok=True)
        text = "# Geodesics of the latent metric, 33 nodes; ends are drawn from the density\n\n"
        (output / "geodesics.md").write_text(text + table(rows))
        record = {"versions": provenance.versions(), "rows": rows}
        (output / "geodesics.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Charts that the continual plugin grows on a stream of codes, as the density of the generative plugin.

``python -m tests.plugins.generative.bench_charts RUNS... [--write]``, where RUNS are folders of finished runs of
``generative/mnist`` or ``generative/fashion``. Autoencoder, task head and judge stay as they are. The codes of the
training images come one class after another, each once, 32 at a time, to a shift detector that is told no boundary; the
Gaussians of its charts are the density. They are compared with mixtures that expectation maximisation fits to codes of
all classes at once. ``results/generative/charts.md`` is the table.
"""

import argparse
from pathlib import Path

import torch

from ndm_apps.config import load_config
from ndm_apps.plugins.continual import ShiftDetector
from ndm_apps.plugins.generative.compared import draw_pairs, walked
from ndm_apps.plugins.generative.density import MixtureDensity
from ndm_apps.plugins.generative.evaluate import NODES
from ndm_apps.plugins.generative.judge import load_judge
from ndm_apps.plugins.generative.run import restore
from ndm_apps.plugins.generative.samples import sample_scores
from ndm_apps.plugins.generative.scores import Reference, decoded, even, path_scores
from ndm_apps.plugins.generative.train import calibrate, codes
from ndm_apps.run_files import read_state
from tests.benchmark import table
from tests.plugins.generative.bench_generative import OUTPUT, shown

BATCH, REGULAR = 32, 1e-3


def grown(z, labels, told):
    """Return the detector after one pass through codes, class after class; ``told``: labels name the components."""
    detector = ShiftDetector(dimension=z.shape[1])
    order = labels.argsort(stable=True)
    for part in order.split(BATCH):
        detector.update(z[part], labels[part] if told else None)
    return detector


def density_of(detector):
    """Return the mixture of all Gaussians that a detector has learnt, in the space of its samples."""
    bank, axes = detector.charts.bank, detector.embedding.axes.double()
    factors = torch.linalg.inv(bank.whitening)
    density = MixtureDensity(len(bank), len(axes))
    density.assign(
        bank.count / bank.count.sum(),
        bank.mean @ axes.mT + detector.embedding.centre,
        axes @ factors @ factors.mT @ axes.mT,
    )
    return density


def densities(z, labels, model, seed):
    """Yield name, number of charts and density: what is compared."""
    yield "mixture of the run, fitted to 20,000 codes", "", model.density
    few = MixtureDensity(int(labels.max()) + 1, z.shape[1])
    few.fit(z[torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))[: len(z) // 2]], regular=REGULAR,
            seed=seed)  # fmt: skip
    yield "mixture fitted to half of the codes, a Gaussian for each class", "", few
    for told in (True, False):
        detector = grown(z, labels, told)
        name = "charts grown on one pass, class after class" + ("; labels name their Gaussians" if told else "")
        yield name, str(len(detector.ids)), density_of(detector)


@torch.no_grad()
def measured(folder):
    """Return rows of numbers for one run, by the name of the density."""
    chosen = load_config(str(folder / "config.yaml"))
    state = read_state(folder)["plugin"]
    model, split = restore(chosen.task, chosen.run.method, chosen.settings, state, chosen.run)
    seed, score = chosen.run.seed, chosen.task.score
    judge = load_judge(state["evaluation"]["judge"], tuple(split.x_test.shape[1:]), split.classes, split.x_test)
    reference = Reference.of(split.x_test, judge)
    generator = torch.Generator().manual_seed(seed)
    z = codes(model, split.x).sample(generator)
    code = codes(model, split.x_test).mean
    pairs = draw_pairs(split.y_test, judge.read(split.x_test).label == split.y_test, score.pairs, generator)
    x, y = code[pairs.images[~pairs.same]].unbind(1)
    classes = pairs.classes[~pairs.same]

    def low(name):
        with torch.enable_grad():
            nodes = walked(name, model, chosen.settings, x, y, classes, NODES).nodes
        path = even(nodes, score.points, model.decode, judge)
        return path_scores(path, classes, judge, reference, score.low)["low"].mean().item()

    plain, rows = {name: low(name) for name in ("line", "slerp")}, {}
    for name, charts, density in densities(z, split.y, model, seed):
        model.density = density
        calibrate(model, split.x_held, seed=seed)
        sampled = sample_scores(
            decoded(model.decode, model.sample(score.samples, generator)), judge, reference, score.low
        )
        paths = {path: low(path) for path in ("geodesic", "label_free")}
        rows[name] = {
            "charts": charts,
            "Gaussians": len(density.means),
            "Fréchet of samples": sampled["frechet"],
            "confidence of samples": sampled["confidence"],
            **{f"{meaning}, low against {other}": 100 * (paths[path] / plain[base] - 1)
               for path, meaning in (("geodesic", "geodesic"), ("label_free", "without labels"))
               for base, other in (("line", "line"), ("slerp", "great arc"))},
        }  # fmt: skip
    return rows


FORMS = {"Gaussians": ".0f", "Fréchet of samples": ".1f", "confidence of samples": ".3f"}


def page(folders):
    """Return the table: a row for each density, mean and standard error over the runs of each task."""
    by_task = {}
    for folder in folders:
        by_task.setdefault(load_config(str(folder / "config.yaml")).task_name, []).append(measured(folder))
    parts = ["# Charts of the continual plugin as density\n", __doc__.partition("\n\n")[2]]
    for task, runs in by_task.items():
        rows = []
        for name in runs[0]:
            own = [run[name] for run in runs]
            row = {"density": name, "charts": ", ".join(one["charts"] for one in own) if own[0]["charts"] else ""}
            for key in own[0]:
                if key != "charts":
                    unit = "" if key in FORMS else " %"
                    row[key] = shown([one[key] for one in own], FORMS.get(key, "+.1f")).replace("± +", "± ") + unit
            rows.append(row)
        parts.append(f"## {task}, {len(runs)} models\n\n{table(rows)}")
    return "\n".join(parts)


def main():
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    text = page(chosen.runs)
    print(text)
    if chosen.write:
        (OUTPUT / "charts.md").write_text(text)


if __name__ == "__main__":
    main()

"""Fabricated sweeps for the tests of pages."""

import json

from ndm_apps.report import write_run_page


def make_sweep(make_run, folder, values, key="n_conserved", **content):
    """Make a sweep folder with a run for each value of each method, and its ``sweep.json``."""
    labels = []
    for method, found in values.items():
        for seed, value in enumerate(found):
            labels.append(f"{method}-seed{seed}")
            run = make_run(labels[-1], seed=seed, method=method, task="nowhere/x", result={key: value}, within=folder)
            write_run_page(run)
    (folder / "sweep.json").write_text(json.dumps({"runs": labels, **content}))
    return folder

import json

import numpy as np
import pytest
import torch

from ndm_apps.config import load_config
from ndm_apps.engine.checkpoint import load_state
from ndm_apps.errors import InputError
from ndm_apps.plugins.generative.train import Training
from ndm_apps.run import execute

#: What makes a run quick.
SMALL = [
    "task.score.pairs=10",
    "task.score.points=9",
    "task.score.samples=200",
    "methods.ndm.model.epochs=3",
    "methods.ndm.model.hidden=[16]",
    "methods.ndm.model.dimension=4",
    "methods.ndm.density.components=3",
    "methods.ndm.density.samples=500",
    "methods.ndm.head.steps=30",
    "methods.vae.model.epochs=3",
    "methods.vae.model.hidden=[16]",
    "methods.vae.head.steps=30",
]


def config_of(*more):
    return load_config("generative/digits", [*SMALL, *more])


def result(folder):
    return json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)


def untimed(scores):
    return {key: value for key, value in scores.items() if key != "milliseconds"}


def weights(folder):
    return load_state(folder / "checkpoint" / "state.safetensors")["plugin"]["model"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of a run from start to end."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    execute(config_of("checkpoint_every=5"), folder, track=False)
    return folder


def test_a_run_judges_paths_samples_and_warnings_and_draws_them(folder):
    whole = result(folder)
    assert {"interpolation", "samples", "trust", "judge", "verdict"} <= set(whole)
    assert {"line", "slerp", "geodesic", "label_free", "pull_back"} <= set(whole["interpolation"])
    assert len(list((folder / "figures").iterdir())) > 3


@pytest.mark.parametrize("cut_at", [8, None])
def test_a_run_that_was_cut_off_goes_on_to_the_same_result(folder, tmp_path, monkeypatch, cut_at):
    """Cut off in training, or in the evaluation."""
    whole = result(folder)

    def cut(self, advance=Training.advance):
        if self.step == cut_at:
            raise KeyboardInterrupt
        advance(self)

    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(Training, "advance", cut)
        if cut_at is None:
            broken.setattr("ndm_apps.plugins.generative.evaluate.random_walk", fail)
        config = config_of("checkpoint_every=5")
        with pytest.raises(KeyboardInterrupt):
            execute(config, tmp_path / "cut", track=False)
    execute(config, tmp_path / "cut", track=False, resume=True)
    again = result(tmp_path / "cut")
    for part in ("samples", "trust", "judge"):
        assert again[part] == whole[part], part
    for name, scores in whole["interpolation"].items():
        assert untimed(again["interpolation"][name]) == untimed(scores), name
    before, after = weights(folder), weights(tmp_path / "cut")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_baseline_draws_from_its_prior_and_walks_straight(tmp_path):
    execute(config_of("method=vae"), tmp_path / "run", track=False)
    values = result(tmp_path / "run")
    assert set(values["interpolation"]) == {"line", "slerp"}
    assert "prior" in values["samples"]


def test_without_labels_no_head_is_trained(tmp_path):
    execute(config_of("task.labels=false"), tmp_path / "run", track=False)
    assert not [name for name in weights(tmp_path / "run") if name.startswith("head")]
    assert "geodesic" in result(tmp_path / "run")["interpolation"]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("methods.ndm.model.decoder=no_such_module:Decoder", "model.decoder: got 'no_such_module:Decoder'"),
        ("methods.ndm.model.decoder=torch.nn:Identity", r"model.decoder: torch.nn:Identity returns shape \(2, 4\)"),
        ("methods.ndm.metric.own=torch:norm", r"metric.own: torch:norm returns shape \(\)"),
        ("methods.ndm.density.kind=flow", "kind: got flow, but model.flow is 0"),
        ("methods.ndm.metric.entropy=-1", "entropy"),
        ("task.score.low=1.0", "low"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_and_leaves_nothing(tmp_path, override, says):
    more = ["methods.ndm.model.flow=0"] if "density.kind" in override else []
    with pytest.raises(InputError, match=says) as caught:
        execute(config_of(override, *more), tmp_path / "run", track=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_training_that_diverges_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ndm_apps.plugins.generative.train.divergence", lambda model, code, z: z.sum() * torch.inf)
    with pytest.raises(InputError, match=r"model.rate: got 0.002, the loss is (inf|-inf|nan) after 50 steps"):
        execute(config_of("methods.ndm.model.batch=16"), tmp_path / "run", track=False)


def test_one_class_has_no_pairs_of_different_ones(tmp_path):
    x = np.random.default_rng(0).random((90, 8, 8))
    np.savez(tmp_path / "own.npz", x_train=x, y_train=np.ones(90, int), x_test=x, y_test=np.ones(90, int))
    (tmp_path / "task.yaml").write_text("domain: generative\ndataset: {npz: own.npz}\n")
    (tmp_path / "config.yaml").write_text("task: task.yaml\nmethod: ndm\n")
    with pytest.raises(InputError, match="one class in y_train: no pairs of different classes"):
        execute(load_config(str(tmp_path / "config.yaml"), []), tmp_path / "run", track=False)

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ndm_apps.config import load_config
from ndm_apps.engine.checkpoint import load_state
from ndm_apps.errors import InputError
from ndm_apps.plugins.supervised.plugin import PLUGIN
from ndm_apps.run import execute

FAST = [
    "task.train_samples=50",
    "task.robustness.samples=40",
    "task.robustness.pgd_steps=3",
    "task.target_loss=2.2",
]
SMALL = ["steps=12", "learning_rate=0.02", "components=6", "batch_size=20"]
#: What makes each method quick.
OWN = {name: ["parameters=600"] if name.startswith("mlp") else ["coupling_hidden=[8]", "metric_hidden=[6]"]
       for name in PLUGIN.methods}  # fmt: skip
UNTIMED = {"seconds", "train_seconds", "seconds_to_loss", "peak_memory_mb", "config"}


def config_of(method, *more):
    settings = [f"methods.{method}.{setting}" for setting in SMALL + OWN[method]]
    return load_config("claims/generalisation", [f"method={method}", *FAST, *settings, *more])


@pytest.mark.parametrize(
    ("method", "more"),
    [
        *((method, []) for method in PLUGIN.methods),
        ("ndm", ["methods.ndm.weighting=balanced", "methods.ndm.curv_every=3"]),
    ],
)
def test_every_method_runs_to_a_complete_result_and_repeats_bit_for_bit_after_a_resume(
    tmp_path, method, more, monkeypatch
):
    config = config_of(method, "checkpoint_every=5", *more)
    execute(config, tmp_path / "whole", track=False)
    whole = json.loads((tmp_path / "whole" / "result.json").read_text(), parse_constant=pytest.fail)
    for name in ("final_accuracy", "train_accuracy", "noise_accuracy", "fgsm_accuracy", "pgd_accuracy", "ece", "brier"):
        assert 0 <= whole[name] <= 2, name
    assert whole["gap"] == whole["train_accuracy"] - whole["final_accuracy"]
    assert set(whole["corruptions"]) == {"blur", "contrast", "shift", "occlusion", "salt_and_pepper"}
    assert (whole["squared_curvature"] is None) == method.startswith("mlp")
    assert whole["steps"] == 12 and 1 <= whole["steps_to_loss"] <= 12
    assert whole["pgd_accuracy"] <= whole["final_accuracy"] + 0.1

    # Cut off after the first checkpoint, in the middle of the second pass over the samples.
    from ndm_apps.plugins.supervised.training import Training

    def fail_at_eight(self, advance=Training.advance):
        if self.step == 8:
            raise KeyboardInterrupt
        advance(self)

    with monkeypatch.context() as cut:
        cut.setattr(Training, "advance", fail_at_eight)
        with pytest.raises(KeyboardInterrupt):
            execute(config, tmp_path / "cut", track=False)
    execute(config, tmp_path / "cut", resume=True, track=False)
    resumed = json.loads((tmp_path / "cut" / "result.json").read_text())
    assert {k: v for k, v in resumed.items() if k not in UNTIMED} == {
        k: v for k, v in whole.items() if k not in UNTIMED
    }
    states = [load_state(tmp_path / name / "checkpoint" / "state.safetensors")["plugin"] for name in ("whole", "cut")]
    for first, second in zip(*(state["training"]["network"].values() for state in states), strict=True):
        assert torch.equal(first, second)


def test_training_that_diverges_is_refused(tmp_path):
    settings = ["learning_rate=100", "steps=12", "layers=30", "parameters=30000"]
    config = load_config("claims/generalisation", ["method=mlp", *FAST, *(f"methods.mlp.{one}" for one in settings)])
    with pytest.raises(InputError, match=r"learning_rate: got 100\.0, the loss is"):
        execute(config, tmp_path / "run", track=False)


@pytest.mark.parametrize(
    ("method", "more"), [("ndm_plain", ["methods.ndm_plain.mixing=false"]), ("mlp_spectral_norm", [])]
)
def test_a_run_ends_with_a_model_that_can_be_exported_and_answers_the_same(tmp_path, method, more):
    from ndm_apps.plugins.base import RunContext, resolve
    from ndm_apps.run_files import MetricsLog

    config = config_of(method, *more)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    nowhere = SimpleNamespace(load=lambda: None, due=lambda step: False, save=lambda state, step: None)
    context = RunContext(seed=0, device="cpu", dtype="float32", evaluate="test", log=log.log,
                         progress=lambda *_: None, checkpoint=nowhere)  # fmt: skip
    result = resolve(PLUGIN.entry)(config.task, config.run.method, config.settings, context)
    exported = torch.export.export(result.model, (result.example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.testing.assert_close(exported.module()(result.example), result.model(result.example))
    assert result.dataset.samples == 50


def test_the_geometry_of_a_run_can_be_inspected_and_a_perceptron_has_none(tmp_path, monkeypatch):
    from ndm_apps.plugins.supervised import inspect
    from ndm_apps.run import inspect_run

    monkeypatch.setattr(inspect, "SAMPLES", 20)
    for method in ("ndm", "mlp"):
        execute(config_of(method), tmp_path / method, track=False)
    values = inspect_run(tmp_path / "ndm")
    result = json.loads((tmp_path / "ndm" / "result.json").read_text())
    assert values["samples"] == 20 and values["train_samples"] == 50 and values["dimension"] == 6
    assert values["geometric_weight"] == result["config"]["methods"]["ndm"]["geometric"]
    assert (tmp_path / "ndm" / "figures" / "geometry_slice.svg").exists()
    with pytest.raises(InputError, match="method 'mlp' has no metric to inspect"):
        inspect_run(tmp_path / "mlp")


def test_vectors_are_scored_without_the_corruptions_of_images(tmp_path):
    generator = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = generator.normal(size=(60, 5)) + 3 * y[:, None]
    np.savez(tmp_path / "data.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    (tmp_path / "task.yaml").write_text("domain: supervised\ndataset: {npz: data.npz}\n")
    (tmp_path / "config.yaml").write_text(
        "task: task.yaml\nmethod: mlp\nmethods: {mlp: {steps: 30, learning_rate: 0.01, parameters: 200}}\n"
    )
    values = execute(load_config(tmp_path / "config.yaml"), tmp_path / "run", track=False)
    assert values["corruption_accuracy"] is None and values["corruptions"] == {}
    assert values["final_accuracy"] > 0.9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("methods.ndm.components=65", "components: got 65, must be at most the number of inputs, 64"),
        ("task.train_samples=1500", "train_samples: got 1500, must be at most 1437 for digits"),
    ],
)
def test_what_the_data_cannot_give_is_refused_in_one_line_and_leaves_nothing(tmp_path, override, message):
    config = load_config("claims/generalisation", [*(s for s in FAST if "train" not in s or "train" not in override),
                                                   override])  # fmt: skip
    with pytest.raises(InputError, match=message):
        execute(config, tmp_path / "run", track=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("methods.ndm_compatible={depth: 1}", "compatibility: got 1.0 at depth 1, must be 0 there"),
        ("methods.mlp.dropout=1.0", "methods.mlp.dropout: got 1.0, must be less than 1"),
        ("task.robustness.noise=[]", "task.robustness.noise"),
        ("methods.ndm.optimiser=sgd", "kfac"),
    ],
)
def test_wrong_settings_are_refused_where_they_stand(override, message):
    with pytest.raises(InputError, match=message):
        load_config("claims/generalisation", [override])

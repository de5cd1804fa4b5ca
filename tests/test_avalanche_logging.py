import warnings

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ndm_apps.avalanche_logging import MLflowLogger, hyperparameters

# isort: split
from avalanche.benchmarks import nc_benchmark
from avalanche.evaluation.metric_results import AlternativeValues, TensorImage
from avalanche.evaluation.metrics import accuracy_metrics, confusion_matrix_metrics, loss_metrics
from avalanche.training import Naive
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
from mlflow import MlflowClient

from ndm_apps.plugins.continual.resident import tensor_dataset
from ndm_apps.tracking import LiveRun


def stream(count=2):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(64 * count) % (2 * count)
    data = tensor_dataset(torch.randn(len(y), 4, generator=generator) + y[:, None], y)
    return nc_benchmark(data, data, n_experiences=count, task_labels=False, seed=0)


def naive(logger, *metrics, plugins=()):
    model = torch.nn.Linear(4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Naive(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.125, momentum=0.5),
            train_mb_size=16,
            train_epochs=2,
            plugins=list(plugins),
            evaluator=EvaluationPlugin(*metrics, loggers=[logger]),
        )


def learn(strategy, benchmark):
    for experience in benchmark.train_stream:
        strategy.train(experience)
        last = strategy.eval(benchmark.test_stream)
    return last


def the_run(store, experiment="avalanche"):
    client = MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return client, run


def test_a_real_strategy_in_a_real_store(store, monkeypatch):
    calls = []
    log_batch = MlflowClient.log_batch
    monkeypatch.setattr(MlflowClient, "log_batch", lambda self, *a, **k: calls.append(k) or log_batch(self, *a, **k))
    monkeypatch.setattr(MlflowClient, "log_metric", lambda *a, **k: pytest.fail("one call for one point"))
    metrics = [accuracy_metrics(minibatch=True, experience=True, stream=True), loss_metrics(epoch=True)]
    with MLflowLogger("my streams", params={"note": "mine"}) as logger:
        assert logger.run_id is None
        strategy = naive(logger, *metrics, plugins=[ReplayPlugin(mem_size=20)])
        last = learn(strategy, stream())
        client, run = the_run(store, "my streams")
        assert run.info.status == "RUNNING" and run.info.run_id == logger.run_id
    run = client.get_run(run.info.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name.startswith("Naive-")
    # Every value that Avalanche collected has arrived, with its step.
    for name, (steps, values) in strategy.evaluator.get_all_metrics().items():
        points = sorted(client.get_metric_history(run.info.run_id, name), key=lambda point: point.step)
        assert [point.step for point in points] == steps
        assert [point.value for point in points] == pytest.approx(values)
    assert last and all(run.data.metrics[name] == pytest.approx(value) for name, value in last.items())
    expected = {"strategy": "Naive", "train_mb_size": "16", "train_epochs": "2", "optimizer.lr": "0.125",
                "note": "mine", "optimizer.momentum": "0.5", "plugins.ReplayPlugin.mem_size": "20", 
                "model.name": "Linear", "model.weights": "20", "criterion": "CrossEntropyLoss"}  # fmt: skip
    assert expected.items() <= run.data.params.items()
    assert len([call for call in calls if "metrics" in call]) == 4, "one delivery an experience, one an evaluation"


def test_confusion_matrices_become_pictures(store):
    with MLflowLogger(name="matrix") as logger:
        learn(naive(logger, confusion_matrix_metrics(stream=True)), stream())
    client, run = the_run(store)
    names = [file.path for file in client.list_artifacts(run.info.run_id, "figures")]
    assert len(names) == 2 and all(name.endswith(".png") and "ConfusionMatrix" in name for name in names)


def test_a_matrix_without_a_picture_is_kept_as_numbers(store, tmp_path):
    with MLflowLogger(name="matrix") as logger:
        learn(naive(logger, confusion_matrix_metrics(stream=True, save_image=False)), stream(1))
    client, run = the_run(store)
    (file,) = client.list_artifacts(run.info.run_id, "figures")
    content = np.loadtxt(client.download_artifacts(run.info.run_id, file.path, str(tmp_path)), delimiter=",")
    assert file.path.endswith(".csv") and content.sum() == 64


def test_what_mlflow_cannot_hold_is_told_once(store):
    told = []
    logger = MLflowLogger(on_warning=told.append)
    strategy = naive(logger, accuracy_metrics(stream=True))
    logger.before_training(strategy)
    for step in range(3):
        logger.log_single_metric("histogram", torch.ones(3), step)
        logger.log_single_metric("text", "hello", step)
    logger.log_single_metric("one", torch.tensor(2.5), 7)
    logger.log_single_metric("image", AlternativeValues(TensorImage(torch.rand(3, 4, 4)), torch.rand(4)), 0)
    logger.log_single_metric("grey", TensorImage(torch.rand(1, 4, 4)), 0)
    logger.log_single_metric("figure", Figure(), 0)
    logger.close()
    logger.close()
    client, run = the_run(store)
    assert run.data.metrics == {"one": 2.5}
    assert len(client.list_artifacts(run.info.run_id, "figures")) == 3
    assert [message.split()[1] for message in told] == ["histogram", "text"]


def test_a_store_that_is_gone_stops_nothing_and_gets_everything_later(store, monkeypatch):
    told = []
    log = LiveRun.log
    monkeypatch.setattr(LiveRun, "log", lambda *a: (_ for _ in ()).throw(OSError("//user:secret@host is gone")))
    logger = MLflowLogger(on_warning=told.append)
    strategy = naive(logger, accuracy_metrics(stream=True))
    learn(strategy, stream())
    assert len(told) == 1 and "gone" in told[0] and "secret" not in told[0]
    monkeypatch.setattr(LiveRun, "log", log)
    logger.close()
    client, run = the_run(store)
    (name,) = (name for name in run.data.metrics if "eval_phase" in name)
    assert len(client.get_metric_history(run.info.run_id, name)) == 2 and len(told) == 1


def test_a_store_that_never_comes_back_is_told(tmp_path):
    told = []
    logger = MLflowLogger(uri=f"sqlite:///{tmp_path}", on_warning=told.append)
    learn(naive(logger, accuracy_metrics(stream=True)), stream(1))
    logger.close()
    assert len(told) == 2 and "1 points and 0 figures never reached" in told[1]


def test_a_failed_block_is_a_failed_run(store):
    with pytest.raises(ZeroDivisionError), MLflowLogger() as logger:
        logger.before_training(naive(logger, accuracy_metrics(stream=True)))
        raise ZeroDivisionError
    assert the_run(store)[1].info.status == "FAILED"


def test_two_loggers_are_two_runs(store):
    for _ in range(2):
        with MLflowLogger() as logger:
            logger.before_eval(naive(logger, accuracy_metrics(stream=True)))
    client = MlflowClient(store)
    assert len(client.search_runs([client.get_experiment_by_name("avalanche").experiment_id])) == 2


def test_hyperparameters_are_plain_values():
    found = hyperparameters(naive(MLflowLogger(), accuracy_metrics(stream=True)))
    assert all(isinstance(value, (str, int, float, dict)) for value in found.values())
    assert "is_training" not in found and found["eval_every"] == -1

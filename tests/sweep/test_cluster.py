"""Two Ray nodes on this machine, on the loopback address."""

import json
import os

import pytest

from ndm_apps.errors import InputError
from ndm_apps.sweep import members, sweep
from tests.sweep.toys import toys

# Read when Ray is imported. Its workers give way to all other processes otherwise.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}
pytest.importorskip("ray")


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes with one processor each; the second may be taken away."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    first = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", include_dashboard=False)
    second = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    yield cluster, first, second
    cluster.shutdown()


def settled(folder, label):
    result = json.loads((folder / label / "result.json").read_text())
    return {key: value for key, value in result.items() if key not in ("seconds", "peak_memory_mb", "git")}


def test_a_cluster_gives_what_one_process_gives(nodes, tmp_path):
    runs = members("continual/digits", ["task.stream.batch_size=128"], methods=["slda"], seeds=range(3))
    here = sweep(runs, tmp_path / "here", track=False)
    there = sweep(runs, tmp_path / "there", ray=nodes[0].address, jobs=None, track=False)
    assert [outcome.label for outcome in there] == [outcome.label for outcome in here]
    for member in runs:
        assert settled(tmp_path / "there", member.label) == settled(tmp_path / "here", member.label)


def test_a_node_that_is_lost_does_not_end_the_sweep(nodes, tmp_path, monkeypatch):
    notes = tmp_path / "notes"
    notes.mkdir()
    monkeypatch.setenv("NDM_TOYS", str(notes))
    cluster, _, second = nodes
    lost = []

    def lose_one(now):
        if now.done >= 2 and not lost:
            lost.append(cluster.remove_node(second, allow_graceful=False))

    outcomes = sweep(
        toys("steady", range(8)), tmp_path / "sweep", ray=cluster.address, jobs=None, track=False, progress=lose_one
    )
    assert lost and [outcome.result and outcome.result["final_accuracy"] for outcome in outcomes] == [
        seed / 10 for seed in range(8)
    ]


def test_no_cluster_is_told_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"^--ray: no cluster at 127.0.0.1:1 \(.*\)$"):
        sweep(toys("quick", [0]), tmp_path / "sweep", ray="127.0.0.1:1", track=False)
    assert not (tmp_path / "sweep").exists()

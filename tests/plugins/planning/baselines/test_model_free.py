import sys

import gymnasium
import pytest

from ndm_apps.errors import InputError
from ndm_apps.plugins.planning.baselines.model_free import ModelFree
from ndm_apps.plugins.planning.baselines.settings import ModelFreeSettings


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(InputError, match=r"method sac needs stable-baselines3: pip install 'ndm_apps\[bench\]'"):
        ModelFree("sac", gymnasium.make("Pendulum-v1"), ModelFreeSettings(), 0)


def test_discrete_actions_are_refused():
    pytest.importorskip("stable_baselines3")
    with pytest.raises(InputError, match="method td3 needs continuous actions, got Discrete"):
        ModelFree("td3", gymnasium.make("CartPole-v1"), ModelFreeSettings(), 0)


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_a_policy_acts_within_bounds_and_is_repeatable(algorithm):
    pytest.importorskip("stable_baselines3")
    env = gymnasium.make("Pendulum-v1")
    settings = ModelFreeSettings(steps=120, options={"learning_starts": 100, "batch_size": 32})
    observation, _ = env.reset(seed=1)
    actions = []
    for _ in range(2):
        controller = ModelFree(algorithm, gymnasium.make("Pendulum-v1"), settings, 7)
        controller.start(observation)
        actions.append(controller.control(observation))
    assert env.action_space.contains(actions[0].astype("float32"))
    assert actions[0] == pytest.approx(actions[1])

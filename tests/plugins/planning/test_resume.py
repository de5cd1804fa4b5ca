"""Learning that was cut off between two rounds goes on to what an undisturbed one learns."""

from types import SimpleNamespace

import numpy as np
import pytest

from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.plugins.planning.collect import Experience
from ndm_apps.plugins.planning.learner import Learned, learn
from ndm_apps.plugins.planning.learner_settings import LearnerSettings
from ndm_apps.plugins.planning.problem_of import open_environment
from ndm_apps.tasks import load_task

TASK = load_task("planning/pendulum")[1]
#: More than a hundred random steps: an episode is broken off among them.
SETTINGS = LearnerSettings(structure="kinetic", random=0.6, surprise=1e-9)


def learning(rng, **more):
    """Learn from 200 steps, those that are not random under a controller that draws from rng."""
    controller = SimpleNamespace(start=lambda x: None, control=lambda x: rng.uniform(-2, 2, 1))
    return learn(TASK, open_environment(TASK), SETTINGS, 200, 1000, lambda *_: controller, **more)


def test_what_is_learnt_after_a_cut_is_what_is_learnt_without(tmp_path):
    rng, states, generators = np.random.default_rng(1000), [], []

    def on_round(learned):
        states.append(learned.state_dict())
        generators.append(rng.bit_generator.state)

    whole = learning(rng, on_round=on_round)
    assert len(states) >= 3 and whole.breaks == (100,), "several rounds, and an episode that was broken off"
    for number in (0, 1, len(states) - 1):
        save_state(tmp_path / "state", {"learned": states[number], "planner": generators[number]})
        state = load_state(tmp_path / "state")
        again = np.random.default_rng()
        again.bit_generator.state = state["planner"]
        resumed = learning(again, known=Learned.from_state(TASK, state["learned"]), resumed=True)
        assert all(np.array_equal(a, b) for a, b in zip(resumed.seen, whole.seen, strict=True))
        assert np.array_equal(resumed.starts, whole.starts) and resumed.rounds == whole.rounds
        assert np.array_equal(resumed.dynamics.coefficients, whole.dynamics.coefficients)


def test_an_environment_that_does_not_repeat_itself_is_noticed():
    first = Experience(TASK, open_environment(TASK), 1000)
    for _ in range(3):
        first.step(np.array([0.5]))
    assert Experience(TASK, open_environment(TASK), 1000).lead_back(first.seen, first.breaks)
    assert not Experience(TASK, open_environment(TASK), 1001).lead_back(first.seen, first.breaks)


@pytest.mark.parametrize("breaks", [(), (2,), (3,)])
def test_steps_are_taken_again_with_their_breaks(breaks):
    first = Experience(TASK, open_environment(TASK), 1000)
    for number in range(4):
        if number in breaks:
            first.break_off()
        if number < 3:
            first.step(np.array([0.5]))
    again = Experience(TASK, open_environment(TASK), 1000)
    assert again.lead_back(first.seen, breaks) and again.breaks == list(breaks)
    assert np.array_equal(again.starts, first.starts) and np.array_equal(again.state, first.state)

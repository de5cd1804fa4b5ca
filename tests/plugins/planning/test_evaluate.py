"""The loop in which controllers act: paired episodes, honest times, success by the task's own word."""

import numpy as np
import pytest

from ndm_apps.plugins.planning.evaluate import Episode, evaluate, scores
from ndm_apps.plugins.planning.problem_of import open_environment, problem_of
from ndm_apps.plugins.planning.references import optimum_of
from ndm_apps.plugins.planning.references.riccati import value_matrix
from ndm_apps.plugins.planning.truth import truth_of
from ndm_apps.tasks import load_task


class Feedback:
    """Linear feedback, which writes down what it is asked."""

    def __init__(self, gain):
        self.gain, self.started, self.asked = gain, [], []

    def start(self, x):
        self.started.append(x)

    def control(self, x):
        self.asked.append(x)
        return -self.gain @ x


def opened(name):
    task = load_task(f"planning/{name}")[1]
    return task, open_environment(task)


def regulator(task, env):
    truth = truth_of(task, env)
    _, a, b = truth.linearised(np.zeros(2))
    r = np.diag(task.controls.costs)
    p = value_matrix(a, b, np.diag([1.0, 0.1]), r)
    return np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)


def test_the_regulator_is_optimal_and_nothing_else_is():
    task, env = opened("double_integrator")
    best = Feedback(regulator(task, env))
    result = scores(task, evaluate(task, env, lambda problem: best, range(1000, 1005), optimum_of(task, env)))
    assert result["ratio_to_optimum"] == pytest.approx(1.0, abs=1e-4)
    assert result["success_rate"] == 1.0 and len(result["returns"]) == 5
    assert [x.tolist() for x in best.started] == [best.asked[100 * n].tolist() for n in range(5)]
    worse = scores(
        task, evaluate(task, env, lambda problem: Feedback(2 * best.gain), range(1000, 1005), optimum_of(task, env))
    )
    assert worse["ratio_to_optimum"] > 1.01 and worse["ratio_worst"] >= worse["ratio_to_optimum"]


def test_a_controller_is_made_once_unless_the_problem_changes():
    for name, times in (("pendulum", 1), ("maze_u", 3)):
        task, env = opened(name)
        made = []

        def controller_for(problem, made=made):
            made.append(problem.goal.tolist())
            return Feedback(np.zeros((len(problem.low), len(problem.goal))))

        episodes = evaluate(task, env, controller_for, [1000, 1001, 1002])
        assert len(made) == times and all(not episode.success for episode in episodes)
        assert len({tuple(goal) for goal in made}) == times


def test_episodes_are_paired_and_repeat():
    task, env = opened("pendulum")
    one, other = (
        evaluate(task, env, lambda problem, k=k: Feedback(np.array([[k, 1.0]])), [1000, 1001]) for k in (5.0, 9.0)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.states[0], b.states[0])
        assert a.states.shape == (201, 2) and a.controls.shape == (200, 1) and len(a.step_seconds) == 200
    again = evaluate(task, env, lambda problem: Feedback(np.array([[5.0, 1.0]])), [1001])[0]
    np.testing.assert_array_equal(again.states, one[1].states)


def test_success_is_what_the_task_says():
    task, env = opened("cartpole")
    held = Feedback(np.array([[-10.0, -20.0, -200.0, -40.0]]))
    dropped = Feedback(np.zeros((1, 4)))
    survived, fallen = (evaluate(task, env, lambda problem, c=c: c, [1000])[0] for c in (held, dropped))
    assert survived.success and survived.total == 500 and not fallen.success
    task, env = opened("swing_up")
    hanging = evaluate(task, env, lambda problem: Feedback(np.zeros((1, 4))), [1000])[0]
    assert not hanging.success and len(hanging.rewards) == 200


def made_up(success, measure, optimum, seconds):
    return Episode(
        1,
        np.zeros((3, 1)),
        np.zeros((2, 1)),
        np.array([-1.0, -2.0]),
        success,
        measure,
        optimum,
        np.array([1.0, 0.5]),
        np.stack([seconds, np.array(seconds) / 2], -1),
    )


def test_scores_of_made_up_episodes():
    task = load_task("planning/pendulum")[1]
    episodes = [made_up(True, 3.0, 2.0, [0.1, 0.3]), made_up(False, 9.0, 4.0, [0.2, 0.2])]
    result = scores(task, episodes)
    assert result["ratio_to_optimum"] == 2.0 and result["ratio_worst"] == 2.25
    assert result["plan_ms_median"] == pytest.approx(200) and result["plan_ms_mean"] == pytest.approx(700)
    assert result["plan_cpu_ms_median"] == pytest.approx(100) and result["plan_cpu_ms_mean"] == pytest.approx(350)
    assert result["plan_ms_start"] == 1000.0
    assert result["mean_return"] == -3.0 and result["success_rate"] == 0.5 and result["return_error"] == 0.0
    # Where success is what counts, only the successful are compared; an unknown optimum gives no ratio.
    maze = load_task("planning/maze_u")[1]
    assert scores(maze, episodes)["ratio_to_optimum"] == 1.5
    assert scores(task, [made_up(True, 3.0, None, [0.1])])["ratio_to_optimum"] is None
    assert scores(maze, [made_up(False, 3.0, 2.0, [0.1])])["ratio_to_optimum"] is None


def test_problems_of_fixed_goals_are_the_same():
    task, env = opened("pendulum")
    assert problem_of(task, env).goal.tolist() == [0.0, 0.0]

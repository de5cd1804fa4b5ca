"""What a task file of the planning domain may say, and how it is told what is wrong."""

import copy

import pytest
import yaml

from ndm_apps.errors import InputError
from ndm_apps.shipped import find
from ndm_apps.tasks import load_task

SHIPPED = sorted(path.stem for path in find("tasks", "planning/pendulum").parent.glob("*.yaml"))
PENDULUM = yaml.safe_load(find("tasks", "planning/pendulum").read_text())
MAZE = yaml.safe_load(find("tasks", "planning/maze_u").read_text())


def edited(path, value, task=PENDULUM):
    content = copy.deepcopy(task)
    at = content
    for key in path[:-1]:
        at = at[key]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return content


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_tasks_are_valid(name):
    task = load_task(f"planning/{name}")[1]
    assert set(task.goal.state) == set(task.columns) and len(task.bounds) == len(task.columns)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("environment",), {}, ("environment", "exactly one of: id, entry_point")),
        (("environment",), {"entry_point": "a:B"}, ("environment.steps", "missing")),
        (("state", "theta"), "atan2(o1, p0)", ("state.theta", "column 11", "unknown name 'p0'")),
        (("state", "theta"), "__import__('os')", ("state.theta",)),
        (("state", "sin"), "o1", ("state.sin", "must be a name")),
        (("controls", "names"), ["omega"], ("controls.names", "'omega'", "used twice")),
        (("angles",), ["thta"], ("angles", "'thta'", "did you mean 'theta'?")),
        (("box",), {}, ("box", "no entry for 'omega'")),
        (("box", "omega"), [8, -8], ("box.omega", "low < high")),
        (("limits",), {"x": [0, 1]}, ("limits.x", "unknown column 'x'")),
        (("smooth",), {"thta": [0, 1]}, ("smooth.thta", "did you mean 'theta'?")),
        (("smooth",), {"theta": [1, 0]}, ("smooth.theta", "low < high")),
        (("cost",), [], ("cost", "at least one")),
        (("cost",), ["thta"], ("cost", "unknown name 'thta'")),
        (("goal", "state", "omega"), 9, ("goal.state.omega", "got 9", "[-8, 8]")),
        (("goal", "state", "omega"), None, ("goal.state", "no entry for 'omega'")),
        (("goal", "state", "x"), 0, ("goal.state.x", "unknown column 'x'")),
        (("goal", "state", "omega"), "o1", ("goal.state.omega", "unknown name 'o1'")),
        (("goal", "reached"), "theta", ("goal.reached", "condition")),
        (("controls", "levels"), [[1.0, 2.0], [0.0]], ("controls.levels", "one value for each")),
        (("controls", "cost"), [1.0, 2.0], ("controls.cost", "one for each of names")),
        (("controls", "cost"), 0.0, ("controls.cost", "greater than 0")),
        (("mirror",), ["torq"], ("mirror", "did you mean 'torque'?")),
        (("kinematic",), {"positions": ["x"]}, ("kinematic.positions", "unknown column 'x'")),
        (("score", "optimum"), "guess", ("score.optimum", "'guess'")),
        (("score", "success"), "theta <", ("score.success",)),
    ],
)
def test_what_is_wrong_is_named(path, value, says):
    with pytest.raises(InputError) as error:
        load_task(edited(path, value))
    assert all(text in str(error.value) for text in says), str(error.value)
    assert "\n" not in str(error.value)


def test_velocities_go_with_positions():
    with pytest.raises(InputError, match=r"kinematic.velocities: must be none, or one for each"):
        load_task(edited(("kinematic", "velocities"), ["x"], MAZE))


def test_a_goal_may_differ_between_episodes_only_by_what_episode_names():
    task = load_task(MAZE)[1]
    assert task.goal.state == {"x": "gx", "y": "gy"}
    with pytest.raises(InputError, match=r"goal.state.x: .*unknown name 'gz'"):
        load_task(edited(("goal", "state", "x"), "gz", MAZE))

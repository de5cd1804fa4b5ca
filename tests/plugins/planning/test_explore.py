import numpy as np

from ndm_apps.plugins.planning.collect import Experience, wander
from ndm_apps.plugins.planning.explore import roam
from ndm_apps.plugins.planning.problem_of import open_environment
from ndm_apps.tasks import load_task


def seen(how, steps=600):
    task = load_task("planning/maze_u")[1]
    experience = Experience(task, open_environment(task), 1000)
    how(experience, steps, np.random.default_rng(0))
    assert experience.steps == steps
    return experience.seen


def test_fewer_moves_are_refused_than_by_held_controls_and_more_is_seen():
    straight, held = seen(roam), seen(wander)

    def refused(moves):
        return (np.linalg.norm(moves.y - moves.x, axis=-1) < 0.7 * 0.1 * np.linalg.norm(moves.u, axis=-1)).mean()

    def cells(moves):
        return len(np.unique(np.floor(moves.x / 0.25), axis=0))

    assert 0 < refused(straight) < 0.7 * refused(held)
    assert cells(straight) > cells(held)

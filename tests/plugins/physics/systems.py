"""Systems that several tests use."""

import numpy as np

from ndm_apps.plugins.physics.schema import System
from ndm_apps.plugins.physics.trajectories import Trajectories


def system(
    equations,
    initial,
    *,
    end=10.0,
    points=200,
    trajectories=60,
    angles=(),
    where=None,
    process_noise=None,
    **parameters,
):
    return System(
        state=tuple(equations),
        angles=angles,
        parameters=parameters,
        equations=equations,
        initial=initial,
        where=where,
        process_noise=process_noise or {},
        time={"end": end, "points": points},
        trajectories=trajectories,
    )


def oscillator(**options):
    wide = (-1.5, 1.5)
    return system({"q": "p", "p": "-k*q"}, {"q": wide, "p": wide}, **{"k": 1.0, **options})


def grid(data: Trajectories):
    """Times of one trajectory, and values ``(trajectories, points, columns)``, of data on a grid."""
    return data.time[: data.lengths[0]], data.values.reshape(len(data), -1, len(data.state))


def on_grid(values, time=None, state=None, angles=()):
    state = tuple("abcdefgh"[: values.shape[-1]]) if state is None else state
    time = np.linspace(0, 1, values.shape[1]) if time is None else time
    return Trajectories.on_grid(tuple(state), frozenset(angles), time, values)

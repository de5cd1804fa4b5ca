"""Motions with closed forms, small enough for tests."""

import numpy as np

from ndm_apps.plugins.physics.trajectories import Trajectories

STATE = ("x", "y", "vx", "vy")


def oscillators(seed, frequencies=(1.0, 1.0), trajectories=14, points=80, noise=0.0, damping=0.0):
    """Springs along x and y."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 6, points)
    columns = []
    for omega in frequencies:
        size, phase = rng.uniform(0.5, 1.5, trajectories)[:, None], rng.uniform(0, 6.28, trajectories)[:, None]
        wave = size * np.exp(-damping * t + 1j * (omega * t + phase))
        columns += [wave.real, ((-damping + 1j * omega) * wave).real]
    values = np.stack([columns[0], columns[2], columns[1], columns[3]], -1)
    values = values + noise * values.reshape(-1, 4).std(0) * rng.standard_normal(values.shape)
    return Trajectories.on_grid(STATE, frozenset(), t, values)


def great_circles(seed, trajectories=14, points=80, noise=0.0):
    """Free motion on the unit sphere, in polar coordinates."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 5, points)[:, None]
    motions = []
    while len(motions) < trajectories:
        frame = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        if not 0.5 < abs(frame[2, 2]):  # circles too near the poles
            continue
        speed = rng.uniform(0.7, 1.5)
        place = np.cos(speed * t) * frame[:, 0] + np.sin(speed * t) * frame[:, 1]
        rate = speed * (-np.sin(speed * t) * frame[:, 0] + np.cos(speed * t) * frame[:, 1])
        sine = np.sqrt(place[:, 0] ** 2 + place[:, 1] ** 2)
        angle = np.arctan2(place[:, 1], place[:, 0])
        turn = (place[:, 0] * rate[:, 1] - place[:, 1] * rate[:, 0]) / sine**2
        motions.append(np.stack([np.arccos(place[:, 2]), angle, -rate[:, 2] / sine, turn], -1))
    values = np.stack(motions)
    values = values + noise * values.reshape(-1, 4).std(0) * rng.standard_normal(values.shape)
    return Trajectories.on_grid(("theta", "phi", "a", "b"), frozenset(["theta", "phi"]), t[:, 0], values)

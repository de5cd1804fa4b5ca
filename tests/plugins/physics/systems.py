"""Systems that several tests use."""

from ndm_apps.plugins.physics.schema import System


def system(equations, initial, *, end=10.0, points=200, trajectories=60, angles=(), where=None, **parameters):
    return System(
        state=tuple(equations),
        angles=angles,
        parameters=parameters,
        equations=equations,
        initial=initial,
        where=where,
        time={"end": end, "points": points},
        trajectories=trajectories,
    )


def oscillator(**options):
    wide = (-1.5, 1.5)
    return system({"q": "p", "p": "-k*q"}, {"q": wide, "p": wide}, **{"k": 1.0, **options})

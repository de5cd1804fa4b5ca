"""How the geodesic planner plans: one rule for all tasks, and what is left out of it in ablations."""

from __future__ import annotations

from typing import Annotated, Literal, final

from pydantic import Field

from ndm_apps.plugins.base import Schema

_Count = Annotated[int, Field(ge=0)]


@final
class PlannerSettings(Schema):
    """How to plan.

    Attributes
    ----------
    nodes
        Nodes in the box; None for 512 times 2 to the power of the states' dimension.
    neighbours
        Nodes averaged over; None for twice the dimension.
    flat
        Stiffness of the averaging weights (:mod:`~ndm_apps.plugins.planning.value`).
    slow
        Slow functions in the embedding; None for one less than the dimension.
    rounds, seeds
        How often nodes are added along paths, and along how many paths each time.
    noise
        Deviation of the noise on choices of noisy seeds, in deviations over the controls.
    noisy
        Noisy seeds of each plan, beside the one without noise and those whose first control is held.
    polished, finished
        Seeds of a plan, the cheapest, that Gauss-Newton starts with, and those of them, the cheapest, that it finishes.
    seed
        Where a path starts from (:class:`~ndm_apps.plugins.planning.seeds.Seeds`); None for the value, or for straight
        lines where each episode poses a problem of its own (:mod:`~ndm_apps.plugins.planning.nearest`).
    reseed
        Steps of the closed loop after which a path is looked for afresh if the state has strayed from it, twice as many
        each time that none is better; 0 for never.
    better
        Part by which a fresh path must cost less to be taken.
    epsilon
        The least epsilon of the metric: what is left of it when the path rests. Large: no metric.
    uncertainty
        Price of the model's spread, in typical steps per unit of length squared.
    beam
        States kept at each depth of the search over discrete controls.
    """

    nodes: Annotated[int, Field(ge=1)] | None = None
    neighbours: Annotated[int, Field(ge=1)] | None = None
    flat: Annotated[float, Field(ge=0.0, le=1e9)] = 1.0
    slow: _Count | None = None
    rounds: _Count = 3
    seeds: Annotated[int, Field(ge=1)] = 8
    noise: Annotated[float, Field(ge=0.0, le=100.0)] = 0.3
    noisy: _Count = 4
    polished: Annotated[int, Field(ge=1)] = 5
    finished: Annotated[int, Field(ge=1)] = 2
    seed: Literal["value", "drift", "line"] | None = None
    reseed: _Count = 10
    better: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.02
    epsilon: Annotated[float, Field(gt=0.0, le=1e6)] = 1e-8
    uncertainty: Annotated[float, Field(ge=0.0, le=1e6)] = 1.0
    beam: Annotated[int, Field(ge=1)] = 300

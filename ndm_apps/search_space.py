"""The ``search`` section of a config: which settings ``ndm sweep --search`` tries, and what it calls good."""

from __future__ import annotations

import math
from typing import Annotated, Any, final

from pydantic import Field, field_validator, model_validator

from ndm_apps.errors import InputError
from ndm_apps.overrides import LARGEST_SEED, parse_seeds
from ndm_apps.plugins.base import Schema
from ndm_apps.wording import short


@final
class Range(Schema):
    """Numbers from ``low`` to ``high``, whole ones if both are.

    Attributes
    ----------
    low, high
        The ends, both included.
    log
        Whether to try as many numbers between 0.01 and 0.1 as between 0.1 and 1.
    step
        Distance of the numbers tried, from ``low`` on; by default every number.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: Annotated[int | float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low: got {self.low}, must be less than high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"low: got {self.low}, must be greater than 0 where log is true")
        if self.log and self.step is not None:
            raise ValueError("give one of: log, step")
        if self.is_whole and isinstance(self.step, float):
            raise ValueError(f"step: got {self.step}, must be whole, as low and high are")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def ends(self) -> tuple[float, float]:
        """Return the least and the largest number."""
        return self.low, self.high

    def rounded(self, value: float) -> float:
        """Return a number of the range near to a value, with four digits at most: one that people can write.

        >>> Range(low=1e-4, high=1.0, log=True).rounded(0.01234567), Range(low=0.12344, high=1.0).rounded(0.12344)
        (0.01235, 0.12344)
        """
        if self.is_whole or self.step is not None or not math.isfinite(value):
            return value
        return min(max(float(f"{value:.4g}"), self.low), self.high)


@final
class Search(Schema):
    """What ``ndm sweep --search`` does.

    Attributes
    ----------
    space
        For each key of the method, as ``methods.METHOD.KEY``: a range, or a list of the values allowed.
    metric
        A column of the domain's tables that has a better direction; by default the first.
    trials
        How many settings are tried.
    batch
        How many are chosen at a time, from the results of all batches before: the search does not depend on how many
        runs go on at a time.
    seeds
        Each setting is run with all of these, and judged by the mean. Keep apart from the seeds that are reported.
    seed
        Of the search itself.
    """

    space: Annotated[dict[str, Range | Annotated[tuple[Any, ...], Field(min_length=2)]], Field(min_length=1)]
    metric: str | None = None
    trials: Annotated[int, Field(ge=1, le=10_000)] = 32
    batch: Annotated[int, Field(ge=1, le=1_000)] = 8
    seeds: str | Annotated[int, Field(ge=0, le=LARGEST_SEED)] = "1000"
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0

    @field_validator("seeds")
    @classmethod
    def _readable(cls, seeds: str | int) -> str | int:
        try:
            parse_seeds(str(seeds), "")
        except InputError as error:
            raise ValueError(str(error).removeprefix(": ")) from None
        return seeds

    @field_validator("space")
    @classmethod
    def _settings_of_methods(cls, space: dict[str, Any]) -> dict[str, Any]:
        for key, values in space.items():
            parts = key.split(".")
            if len(parts) < 3 or parts[0] != "methods" or not all(parts):
                raise ValueError(f"got {short(key)}, must be methods.METHOD.KEY, such as methods.ndm.learning_rate")
            if isinstance(values, tuple) and any(values.count(value) > 1 for value in values):
                raise ValueError(f"{key}: got {short(list(values))}, must not hold a value twice")
        return space

    def of_method(self, method: str) -> dict[str, Range | tuple[Any, ...]]:
        """Return the part of the space that concerns a method."""
        return {key: values for key, values in self.space.items() if key.split(".")[1] == method}

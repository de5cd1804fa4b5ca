"""What the numbers of an interpretation say, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["verdict"]

# What is tested: the value, what it is, from which size on it matters, and what it says if it is positive or negative.
_TESTS = (
    ("boundary_curvature_rank", "rank correlation", 0.1, "|R| grows with the margin", "|R| falls with the margin"),
    ("boundary_volume_rank", "rank correlation", 0.1, "volume grows with the margin", "volume falls with the margin"),
    ("neighbours_gain", "difference", 0.01, "geodesic neighbours agree better", "geodesic neighbours agree worse"),
    (
        "paths_other_class_gain",
        "difference",
        0.01,
        "geodesics cross more of other classes",
        "geodesics cross less of other classes",
    ),
    ("paths_nearest_gain", "difference", 0.01, "geodesics stray further from data", "geodesics keep closer to data"),
)
# The tests share an error rate of 0.05 (Bonferroni).
_LEVEL = 0.05 / len(_TESTS)
_CONSTANT = 0.05  # spread of the curvature over its mean below which it is called nearly constant
_STRAIGHT = 0.001  # relative gain in length below which geodesics are called straight lines
_STABLE = 0.9  # rank correlation above which a ranking is called stable


def verdict(values: Mapping[str, Any]) -> str:
    """Return what is interesting in the values of an interpretation, and what is not.

    Parameters
    ----------
    values
        As of :class:`~ndm_apps.engine.interpretation.Interpretation`, but for the verdict itself.

    Returns
    -------
    str
        A clause on the metric as such; then, of the tests, which share the level 0.05, those that reject by an amount
        that matters (a rank correlation of 0.1, a difference of 0.01); then how stable the flat regions are.
    """
    tests = [test for test in _TESTS if f"{test[0]}_p" in values]
    found = [clause for test in tests if (clause := _finding(values, *test))]
    nothing = f"none of {len(tests)} tests finds that it knows anything of classes or data worth mention"
    return f"{_metric(values)}; {'; '.join(found) or nothing}; {_stability(values)}."


def _finding(values: Mapping[str, Any], name: str, kind: str, least: float, more: str, less: str) -> str | None:
    value, p = values[name], values[f"{name}_p"]
    if p >= _LEVEL or abs(value) < least:
        return None
    return f"{more if value > 0 else less} ({kind} {value:+.2f}, p = {p:.2g}, n = {values[f'{name}_n']})"


def _metric(values: Mapping[str, Any]) -> str:
    mean, spread = values["curvature_mean"], values["curvature_sd"]
    how = "is nearly constant" if spread <= _CONSTANT * abs(mean) else "varies"
    clauses = [f"curvature {how} ({mean:.2g} +- {spread:.2g})"]
    if values["geometric_weight"] == 0:
        clauses.insert(0, "the metric is untrained (weight 0 of the geometric loss)")
    if "paths_length_ratio" in values:
        gain = 1 - values["paths_length_ratio"]
        straight = f"geodesics are straight lines but for {gain:.1g} of their length"
        clauses.append(straight if gain < _STRAIGHT else f"geodesics are {gain:.1%} shorter than straight lines")
    text = ", ".join(clauses)
    return text[0].upper() + text[1:]


def _stability(values: Mapping[str, Any]) -> str:
    prefix = "flat_rank_noise_"
    rows = sorted((float(name.removeprefix(prefix)), values[name]) for name in values if name.startswith(prefix))
    stable = [size for size, rank in rows if rank >= _STABLE]
    if stable:
        return f"the ranking by |R| survives input noise of {max(stable):.0%} (rank correlation {_STABLE} or more)"
    size, rank = rows[0]
    return f"the ranking by |R| does not survive input noise of {size:.0%} (rank correlation {rank:.2f})"

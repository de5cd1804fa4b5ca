"""Symbolic regression by Operon (Burlacu, Kronberger and Kommenda 2020): formulas of a target, short and good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ndm_apps.errors import InputError
from ndm_apps.expression import Expression, ExpressionError, parse_expression

Array = NDArray[np.float64]

#: What formulas are made of, in Operon's words: by turns with roots and exponentials, and with waves and chains.
ALWAYS = "add,sub,mul,div,constant,variable,square"
FUNCTIONS = ("exp,log,sqrt", "sin,cos,cosh,exp")
#: Formulas of a generation, generations, the longest formula, and steps of Levenberg-Marquardt for its numbers.
POPULATION, GENERATIONS, LONGEST, STEPS = 500, 50, 20, 5
#: Formulas that explain less of the target's variance than this are left out.
LEAST_R2 = 0.8
#: Digits of numbers in formulas.
DIGITS = 9


def require() -> None:
    """Raise InputError, in one line, if Operon is not installed."""
    try:
        import pyoperon.sklearn  # noqa: F401
    except ImportError:
        raise InputError(
            "methods.spectral.symbolic: Operon is not installed; pip install 'ndm-apps[symbolic]'"
        ) from None


def formulas(features: Array, target: Array, names: Sequence[str], functions: str, seed: int) -> list[Expression]:
    """Return the formulas of the best compromises between length and error, the best fitting first.

    Parameters
    ----------
    features
        What formulas are of, ``(samples, features)``.
    target
        What they are to fit but for scale and offset, ``(samples,)``.
    names
        Names of the features.
    functions
        What formulas are made of beside arithmetic, in Operon's words.
    seed
        Of the evolution.

    Raises
    ------
    InputError
        Operon is not installed.
    """
    require()
    from pyoperon.sklearn import SymbolicRegressor

    model = SymbolicRegressor(
        allowed_symbols=f"{ALWAYS},{functions}",
        objectives=["r2", "length"],
        population_size=POPULATION,
        generations=GENERATIONS,
        max_evaluations=POPULATION * GENERATIONS * 100,
        max_length=LONGEST,
        optimizer_iterations=STEPS,
        random_state=seed,
    )
    model.fit(features, target)
    found: dict[str, float] = {}
    for one in model.pareto_front_:
        text = model.get_model_string(one["tree"], DIGITS, list(names)).replace("^", "**")
        found[text] = max(-one["objective_values"][0], found.get(text, 0.0))
    trees = []
    for text in sorted((text for text, r2 in found.items() if r2 > LEAST_R2), key=lambda text: -found[text]):
        try:
            trees.append(parse_expression(text, names))
        except ExpressionError:  # a number that is not finite
            continue
    return trees

import csv
import math

import numpy as np
import pytest
from scipy import stats

from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Column
from ndm_apps.report import difference_table, paired_differences
from ndm_apps.report.differences import holm, paired, save_differences

ACCURACY = Column("accuracy", "accuracy", ".3f", "higher")
BY = ("method",)


def runs(**values):
    return [
        {"task": "t", "method": m, "seed": s, "accuracy": v} for m, found in values.items() for s, v in enumerate(found)
    ]


def test_interval_and_p_are_scipys():
    rng = np.random.default_rng(0)
    d = rng.normal(0.3, 1.0, 9)
    mean, low, high, p = paired(d.tolist())
    theirs = stats.ttest_1samp(d, 0.0)
    assert mean == pytest.approx(d.mean())
    assert p == pytest.approx(theirs.pvalue, rel=1e-10)
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=1e-10)


def test_under_the_null_the_test_rejects_as_often_as_it_says():
    rng = np.random.default_rng(1)
    p = [paired(rng.normal(size=5).tolist())[3] for _ in range(4000)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.012)


def test_holm_bounds_the_family_and_orders_as_the_values():
    rng = np.random.default_rng(2)
    families = rng.random((4000, 5))
    assert np.mean([min(holm(family.tolist())) < 0.05 for family in families]) <= 0.06
    values = [0.2, 0.001, 0.04]
    assert holm(values) == pytest.approx([0.2, 0.003, 0.08])


@pytest.mark.parametrize(("better", "verdict"), [("higher", "worse"), ("lower", "better"), ("", None)])
def test_what_is_better_depends_on_the_column(better, verdict):
    found = runs(ndm=[0.90, 0.91, 0.92, 0.93], naive=[0.50, 0.52, 0.51, 0.54])
    reference, differences = paired_differences(found, [Column("accuracy", "a", ".3f", better)], BY)
    assert reference == ("ndm",)
    assert [d.verdict for d in differences] == ([] if verdict is None else [verdict])


def test_pairs_are_those_of_common_seeds_only():
    found = runs(ndm=[0.9, 0.8, math.nan, 0.7], naive=[0.5, None, 0.6, 0.4])
    (difference,) = paired_differences(found, [ACCURACY], BY)[1]
    assert difference.pairs == 2
    assert difference.mean == pytest.approx((0.5 - 0.9 + 0.4 - 0.7) / 2)


def test_the_baseline_may_be_chosen_and_must_be_there():
    found = runs(ndm=[0.9, 0.8], naive=[0.5, 0.6])
    reference, (difference,) = paired_differences(found, [ACCURACY], BY, "naive")
    assert (reference, difference.labels) == (("naive",), ("ndm",))
    assert difference.mean == pytest.approx(0.3)
    with pytest.raises(InputError, match="baseline: got 'x', must be one of ndm, naive"):
        paired_differences(found, [ACCURACY], BY, "x")


def test_equal_differences_and_single_pairs_claim_no_significance(tmp_path):
    found = runs(ndm=[1.0, 2.0], same=[1.5, 2.5], one=[0.5])
    differences = paired_differences(found, [ACCURACY], BY)[1]
    assert [(d.p, d.low, d.verdict) for d in differences] == [(None, None, "")] * 2
    table = difference_table(differences, [ACCURACY], BY)
    assert [row.cells[0].text for row in table.rows] == ["+0.500", "-0.500"]
    path = save_differences(tmp_path / "differences.csv", [("t", ("ndm",), d) for d in differences])
    read = list(csv.DictReader(path.open()))
    assert [(row["group"], row["difference"], row["p_holm"]) for row in read] == [
        ("same", "0.5", ""),
        ("one", "-0.5", ""),
    ]


def test_the_table_tells_interval_and_p():
    differences = paired_differences(runs(ndm=[0.9, 0.8, 0.7], naive=[0.5, 0.3, 0.1]), [ACCURACY], BY)[1]
    (row,) = difference_table(differences, [ACCURACY], BY).rows
    assert row.cells[0].text == "-0.500 [-0.748, -0.252] p = 0.013"
    assert not row.cells[0].best

"""From settings to an immersion."""

import pytest
import torch
from pydantic import ValidationError

from ndm_apps.plugins.continual.immersion.build import build
from ndm_apps.plugins.continual.immersion.identity import Identity
from ndm_apps.plugins.continual.immersion.lift import PrincipalLift, RandomLift
from ndm_apps.plugins.continual.immersion.patches import PatchDictionary
from ndm_apps.plugins.continual.immersion.settings import (
    IdentitySettings,
    LiftSettings,
    PatchSettings,
    WithImmersion,
)


def test_every_option_arrives():
    options = {
        "samples": 11, "patch": 4, "filters": 9, "dictionary": "patches", "contrast": 0.2, "whitening": 0.3,
        "threshold": 0.4, "pool": (3, 2), "smoothing": 0.7, "power": 0.6, "mirror": True, "resize": 17,
    }  # fmt: skip
    settings = PatchSettings(**options, lift=12, coordinates=6)
    lift = build(settings, seed=5)
    assert isinstance(lift, PrincipalLift) and isinstance(lift.inner, PatchDictionary)
    assert (lift.width, lift.coordinates, lift.seed, lift.samples) == (12, 6, 5, 11)
    assert {**vars(lift.inner), "contrast": lift.inner.relative_contrast}.items() >= {**options, "seed": 5}.items()


def test_kinds():
    lift = build(LiftSettings(width=3, samples=4), seed=7)
    assert isinstance(lift, RandomLift) and (lift.width, lift.samples, lift.seed) == (3, 4, 7)
    assert isinstance(build(IdentitySettings(), seed=0), Identity)
    assert isinstance(build(PatchSettings(lift=0), seed=0), PatchDictionary)


def test_the_lift_needs_no_more_than_a_first_mini_batch():
    # What the digits stream has always used: fitted on its first mini-batch.
    x = torch.rand(10, 8, 8, generator=torch.Generator().manual_seed(0))
    lift, old = build(LiftSettings(width=20), seed=3), RandomLift(20, seed=3)
    lift.fit(x)
    old.fit(x)
    assert lift.samples == 1 and torch.equal(lift(x), old(x))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"kind": "identity"}, IdentitySettings()),
        ({"kind": "patches", "pool": [4, 2]}, PatchSettings(pool=(4, 2))),
        ({"kind": "lift", "width": 5}, LiftSettings(width=5)),
        (None, None),
    ],
)
def test_settings_are_told_apart_by_kind(given, expected):
    assert WithImmersion.model_validate({"immersion": given}, strict=False).immersion == expected


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "conv"},
        {"kind": "lift", "patch": 3},
        {"kind": "patches", "pool": ()},
        {"kind": "patches", "power": 0.0},
    ],
)
def test_wrong_settings_are_refused(given):
    with pytest.raises(ValidationError):
        WithImmersion.model_validate({"immersion": given}, strict=False)

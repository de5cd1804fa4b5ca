"""Laws that every immersion keeps: fixed by the first samples, deterministic, saved whole."""

import pytest
import torch
from torch import nn

from ndm_apps.plugins.continual.immersion.frozen import FrozenModule
from ndm_apps.plugins.continual.immersion.identity import Identity
from ndm_apps.plugins.continual.immersion.lift import PrincipalLift, RandomLift
from ndm_apps.plugins.continual.immersion.patches import PatchDictionary

SEVERAL = {
    "identity": lambda seed: Identity(),
    "lift": lambda seed: RandomLift(7, seed=seed),
    "patches": lambda seed: PatchDictionary(patch=3, filters=6, pool=(2,), seed=seed),
    "mirror": lambda seed: PrincipalLift(
        PatchDictionary(patch=3, filters=6, pool=(2, 1), mirror=True, seed=seed), 9, coordinates=5, seed=seed
    ),
    "resize": lambda seed: PatchDictionary(patch=3, filters=6, pool=(2,), dictionary="patches", resize=9, seed=seed),
    "frozen": lambda seed: FrozenModule(network()),
    "frozen and lift": lambda seed: PrincipalLift(FrozenModule(network(), samples=20), 9, coordinates=3, seed=seed),
}
WIDTHS = {
    "identity": 64, "lift": 71, "patches": 48, "mirror": 6 * 2 * 5 + 9, "resize": 48, "frozen": 4, "frozen and lift": 13
}  # fmt: skip
NAMES = list(SEVERAL)


def images(count, *, seed=0, shape=(8, 8), dtype=torch.float64):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def network():
    """Return a small network of fixed weights."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4, bias=False, dtype=torch.float64))
    with torch.no_grad():
        module[1].weight.copy_(images(4, seed=9).flatten(1))
    return module


def fitted(name, seed=0, dtype=torch.float64):
    immersion = SEVERAL[name](seed).to(dtype)
    immersion.fit(images(30, dtype=dtype))
    return immersion


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_width_and_dtype(name, dtype):
    immersion, width = fitted(name, dtype=dtype), WIDTHS[name]
    out = immersion(images(5, seed=1, dtype=dtype))
    assert out.shape == (5, width) and immersion.features == width and out.dtype == dtype
    assert out.isfinite().all() and out.std(0).max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_same_first_samples_and_seed_give_the_same_map(name):
    x = images(5, seed=1)
    assert torch.equal(fitted(name)(x), fitted(name)(x))


@pytest.mark.parametrize("name", ["lift", "patches", "mirror", "resize", "frozen and lift"])
def test_another_seed_gives_another_map(name):
    x = images(5, seed=1)
    assert not torch.allclose(fitted(name)(x), fitted(name, seed=1)(x))


@pytest.mark.parametrize("name", NAMES)
def test_each_sample_is_mapped_by_itself(name):
    immersion, x = fitted(name), images(5, seed=1)
    torch.testing.assert_close(immersion(x), torch.cat([immersion(x[i : i + 1]) for i in range(5)]))
    assert immersion(x[:0]).shape == (0, immersion.features)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other_size", [False, True])
def test_state_loads_into_a_fresh_and_into_a_fitted_instance(name, other_size):
    immersion, other = fitted(name), SEVERAL[name](5)
    if other_size and not name.startswith("frozen"):
        other.fit(images(20, seed=3, shape=(3, 10, 11)))
    other.load_state_dict(immersion.state_dict())
    x = images(5, seed=1)
    assert other.fitted and other.features == immersion.features
    assert torch.equal(other(x), immersion(x))


@pytest.mark.parametrize("name", NAMES)
def test_state_of_an_unfitted_instance_loads_too(name):
    immersion = fitted(name)
    immersion.load_state_dict(SEVERAL[name](0).state_dict())
    assert not immersion.fitted


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_fit_is_refused_and_nothing_is_fixed(name):
    immersion = SEVERAL[name](0)
    with pytest.raises(ValueError, match="fit first"):
        immersion(images(2))
    with pytest.raises(ValueError, match="fit first"):
        _ = immersion.features
    broken = images(5)
    broken[3, 2, 2] = torch.nan
    for wrong, match in [
        (broken, "sample 3"),
        (images(0), "shape"),
        (images(5)[0, 0], "shape"),
        ((images(5) * 255).byte(), "uint8"),
    ]:
        with pytest.raises(ValueError, match=match):
            immersion.fit(wrong)
        assert not immersion.fitted


@pytest.mark.parametrize("name", NAMES)
def test_later_samples_must_be_finite_and_of_the_first_shape(name):
    immersion, broken = fitted(name), images(5)
    broken[4, 0, 0] = -torch.inf
    with pytest.raises(ValueError, match="sample 4"):
        immersion(broken)
    with pytest.raises(ValueError, match=r"\(9, 8\).*\(8, 8\)"):
        immersion(images(2, shape=(9, 8)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", [1, 2, 30])
def test_few_samples_constant_images_and_dead_pixels(name, samples):
    few, constant = SEVERAL[name](0), SEVERAL[name](0)
    dead = images(samples)
    dead[:, :, :4] = 0
    few.fit(dead)
    constant.fit(torch.full((samples, 8, 8), 0.1, dtype=torch.float64))
    for immersion in (few, constant):
        assert immersion.features == fitted(name).features
        for x in (images(3), torch.zeros(2, 8, 8, dtype=torch.float64), 1e6 * images(3)):
            assert immersion(x).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_exported_program_gives_the_same(name):
    immersion, x = fitted(name), images(5, seed=1)
    program = torch.export.export(immersion, (images(3),), dynamic_shapes=[{0: torch.export.Dim("batch", min=2)}])
    torch.testing.assert_close(program.module()(x), immersion(x))

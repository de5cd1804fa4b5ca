import pytest
import torch

from ndm_apps.datasets import Arrays
from ndm_apps.errors import InputError
from ndm_apps.plugins.continual.schema import Stream as StreamSettings
from ndm_apps.plugins.continual.stream import build_stream

KINDS = ("class_incremental", "permuted", "rotated", "recurring", "blurred", "stationary")


def arrays(per_class=40, classes=6, size=8):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(classes).repeat_interleave(per_class)
    x = torch.rand(len(y), size, size, generator=generator)
    return Arrays("toy", "made here", "-", x, y, x[::5].clone(), y[::5].clone(), classes)


def build(kind, seed=0, evaluate="test", **settings):
    return build_stream(StreamSettings(kind=kind, experiences=3, **settings), arrays(), seed=seed, evaluate=evaluate)


@pytest.mark.parametrize("kind", KINDS)
def test_laws_of_every_stream(kind):
    stream = build(kind)
    assert stream.stops[-1] == len(stream)
    assert list(stream.stops) == sorted(set(stream.stops))
    assert len(stream.starts) == len(stream.tests)
    assert all(0 < shift < len(stream) for shift in stream.shifts)
    x, y = stream.slice(0, len(stream))
    assert x.shape[1:] == (8, 8) and x.isfinite().all()
    torch.testing.assert_close(y, stream.y[stream.order])
    again, other = build(kind), build(kind, seed=1)
    torch.testing.assert_close(again.order, stream.order)
    assert not torch.equal(other.order, stream.order)


@pytest.mark.parametrize("kind", KINDS)
def test_slices_do_not_touch_the_data(kind):
    stream = build(kind)
    before = stream.x.clone()
    stream.slice(0, len(stream))[0].zero_()
    torch.testing.assert_close(stream.x, before)


@pytest.mark.parametrize("kind", ["class_incremental", "recurring", "blurred", "stationary"])
def test_each_sample_is_shown_once_per_pass(kind):
    assert build(kind).order.bincount().tolist() == [1] * 240
    assert build(kind, passes=2).order.bincount().tolist() == [2] * 240


def test_class_incremental_classes_come_one_group_after_the_other():
    stream = build("class_incremental")
    groups = [set(stream.slice(a, b)[1].tolist()) for a, b in zip((0, *stream.stops), stream.stops, strict=False)]
    assert [len(group) for group in groups] == [2, 2, 2] and len(set.union(*groups)) == 6
    assert [set(y.tolist()) for _, y in stream.tests] == groups
    assert stream.shifts == stream.stops[:-1]


def test_recurring_experiences_come_back_with_new_samples():
    stream = build("recurring")
    visits = [set(stream.slice(a, b)[1].tolist()) for a, b in zip((0, *stream.stops), stream.stops, strict=False)]
    a, b, c = visits[0], visits[1], visits[3]
    assert visits == [a, b, a, c, b]
    assert stream.shifts == (stream.stops[0], stream.stops[2])
    assert stream.starts == (0, 1, 3)


def test_blurred_share_of_the_newer_rises_linearly():
    stream = build_stream(
        StreamSettings(kind="blurred", experiences=2, blend=2000), arrays(per_class=1000, classes=2), seed=0
    )
    new = (stream.y[stream.order] == stream.y[stream.order[-1]]).double()
    # The blend is as long as an experience at most: positions 500 to 1500, around the boundary at 1000.
    quarters = new[500:1500].reshape(4, 250).mean(1)
    torch.testing.assert_close(quarters, torch.tensor([1, 3, 5, 7], dtype=torch.float64) / 8, atol=0.08, rtol=0)
    assert new[:500].sum() == 0 and new[1500:].sum() == 500
    assert stream.shifts == (int(new.nonzero()[0]),)


def test_permuted_keeps_values_and_rotated_by_zero_is_the_identity():
    permuted, rotated = build("permuted"), build("rotated", max_degrees=90.0)
    torch.testing.assert_close(permuted.tests[1][0].flatten(1).sort(1)[0], permuted.tests[0][0].flatten(1).sort(1)[0])
    assert not torch.equal(permuted.tests[1][0], permuted.tests[0][0])
    torch.testing.assert_close(rotated.tests[0][0], arrays().x_test, atol=1e-5, rtol=0)
    # A quarter turn moves pixels exactly.
    turned, straight = rotated.tests[2][0], rotated.tests[0][0]
    errors = [(turned - straight.rot90(k, (1, 2))).abs().max() for k in (1, 3)]
    assert min(errors) < 1e-4 < max(errors)


def test_stationary_has_no_shift():
    assert build("stationary").shifts == ()


def test_validation_never_touches_the_test_set():
    stream = build("class_incremental", evaluate="validation")
    held_out = torch.cat([x for x, _ in stream.tests])
    shown = stream.slice(0, len(stream))[0]
    assert len(shown) == 192 and len(held_out) == 48
    assert not (torch.cdist(held_out.flatten(1), shown.flatten(1)) == 0).any()


def test_impossible_streams_are_told():
    with pytest.raises(InputError, match=r"stream.experiences: got 7.*only 6 classes"):
        build_stream(StreamSettings(experiences=7), arrays(), seed=0)
    vectors = Arrays(*(v.flatten(1) if n.startswith("x_") else v for n, v in vars(arrays()).items()))
    with pytest.raises(InputError, match="rotated needs images"):
        build_stream(StreamSettings(kind="rotated"), vectors, seed=0)
    with pytest.raises(InputError, match="too many"):
        build_stream(StreamSettings(kind="stationary", experiences=1000), arrays(), seed=0)

"""Scripted streams, sequences, groups of classes, and the options that thin out or spoil a stream."""

import json
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from ndm_apps.datasets import Arrays, as_floats
from ndm_apps.errors import InputError
from ndm_apps.plugins.continual.schema import ContinualTask, Segment
from ndm_apps.plugins.continual.schema import Stream as StreamSettings
from ndm_apps.plugins.continual.stream import build_stream
from ndm_apps.tasks import load_task


def arrays(per_class=400, classes=6):
    y = torch.arange(classes).repeat(per_class)
    x = torch.arange(len(y), dtype=torch.float32)[:, None].expand(-1, 3).clone()
    return Arrays("toy", "made here", "-", x, y, x[: 10 * classes] + 0.5, y[: 10 * classes], classes)


def scripted(*segments, experiences=3, data=None, seed=0, evaluate="test", **settings):
    settings = StreamSettings(kind="scripted", experiences=experiences, segments=segments, **settings)
    return build_stream(settings, data or arrays(), seed=seed, evaluate=evaluate)


def shown(stream):
    """Labels of each segment."""
    return [stream.slice(a, b)[1] for a, b in zip((0, *stream.stops), stream.stops, strict=False)]


SCRIPT = (
    Segment(show=(0,), samples=100),
    Segment(show=(0,), samples=200, share=0.9),
    Segment(show=(1,), samples=100),
    Segment(show=(2,), samples=300, blend=200),
    Segment(show=(0,), samples=80),
    Segment(show=(0, 1, 2), samples=120),
)


def test_a_script_is_followed():
    stream = scripted(*SCRIPT)
    first, unbalanced, second, blended, recurring, mixed = shown(stream)
    groups = [set(y.tolist()) for _, y in stream.tests]
    assert stream.stops == (100, 300, 400, 700, 780, 900) and len(stream) == 900
    assert set(first.tolist()) == set(recurring.tolist()) == groups[0] and set(second.tolist()) == groups[1]
    assert sorted(unbalanced.bincount(minlength=6).tolist()) == pytest.approx([0, 0, 0, 0, 20, 180], abs=15)
    assert set(blended.tolist()) == groups[1] | groups[2] and set(blended[200:].tolist()) == groups[2]
    assert len(set(mixed.tolist())) == 6
    assert stream.starts == (0, 2, 3)


def test_shifts_are_first_samples_of_new_experiences_and_know_their_blend():
    stream = scripted(*SCRIPT)
    third = torch.isin(stream.slice(0, 900)[1], stream.tests[2][1].unique())
    assert stream.shifts == (300, int(third.nonzero()[0])) and stream.blends == (0, 200)
    assert 400 <= stream.shifts[1] < 600


def test_no_sample_of_a_script_is_shown_twice():
    order = scripted(*SCRIPT).order
    assert len(order.unique()) == len(order)


def test_the_share_of_the_newer_rises_linearly():
    segments = (Segment(show=(0,), samples=10), Segment(show=(1,), samples=9000, blend=8000))
    stream = scripted(*segments, experiences=2, data=arrays(per_class=10_000, classes=2))
    new = torch.isin(stream.slice(10, 9010)[1], stream.tests[1][1].unique()).double()
    torch.testing.assert_close(
        new[:8000].reshape(4, 2000).mean(1), torch.tensor([1, 3, 5, 7], dtype=torch.float64) / 8, atol=0.04, rtol=0
    )
    assert new[8000:].all()


def test_a_blend_continues_the_imbalance_before_it():
    segments = (
        Segment(show=(0,), samples=10, share=0.9),
        Segment(show=(1,), samples=4000, blend=4000),
    )
    stream = scripted(*segments, experiences=2, data=arrays(per_class=4000, classes=4))
    y = stream.slice(10, 4010)[1]
    old = y[torch.isin(y, stream.tests[0][1].unique())].bincount(minlength=4)
    assert old.max() / old.sum() == pytest.approx(0.9, abs=0.03)


def test_a_script_is_repeatable_and_differs_between_seeds():
    assert torch.equal(scripted(*SCRIPT).order, scripted(*SCRIPT).order)
    assert not torch.equal(scripted(*SCRIPT).order, scripted(*SCRIPT, seed=1).order)
    held_out = torch.cat([x for x, _ in scripted(*SCRIPT, evaluate="validation").tests])
    assert not torch.isin(scripted(*SCRIPT, evaluate="validation").slice(0, 900)[0], held_out).any()


def test_a_script_that_needs_too_much_is_told():
    with pytest.raises(InputError, match=r"stream.segments: need \d+ samples of class \d, there are 400"):
        scripted(Segment(show=(0,), samples=1000), Segment(show=(1, 2), samples=10))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "scripted"}, "at least one is needed"),
        ({"segments": [{"show": [0], "samples": 1}]}, "only kind scripted"),
        ({"kind": "scripted", "segments": [{"show": [5], "samples": 1}]}, "got experience 5, there are 5"),
        ({"kind": "scripted", "segments": [{"show": [0], "samples": 1}]}, "experience 1 is never shown"),
        ({"kind": "scripted", "segments": [{"show": [0, 0], "samples": 1}]}, "each experience once"),
        ({"kind": "scripted", "segments": [{"show": [0], "samples": 2, "blend": 3}]}, "at most the segment's 2"),
        ({"kind": "scripted", "segments": [{"show": [0], "samples": 2, "blend": 1}]}, "nothing comes before"),
        ({"kind": "scripted", "passes": 2, "segments": [{"show": [0], "samples": 2}]}, "must be 1 for kind scripted"),
        ({"kind": "sequence", "samples_per_experience": 9}, "no meaning for kind sequence"),
        ({"imbalance": 0.5}, "greater than or equal to 1"),
        ({"label_noise": 1.5}, "less than or equal to 1"),
    ],
)
def test_impossible_settings_are_told(settings, message):
    task = {"domain": "continual", "dataset": {"name": "digits"}, "stream": settings}
    with pytest.raises(ValidationError, match=message):
        ContinualTask.model_validate_json(json.dumps(task))


def test_a_sequence_keeps_the_order_of_the_data():
    data = arrays()
    data = replace(data, x_test=data.x_test[:0], y_test=data.y_test[:0])
    stream = build_stream(StreamSettings(kind="sequence", experiences=4), data, seed=3)
    x, y = stream.slice(0, len(stream))
    torch.testing.assert_close(x, data.x_train)
    assert torch.equal(y, data.y_train) and len(stream.tests) == 0 and stream.starts == () and stream.shifts == ()
    assert len(stream.stops) == 4
    early = build_stream(StreamSettings(kind="sequence"), data, seed=3, evaluate="validation")
    assert torch.equal(early.order, torch.arange(480))
    with pytest.raises(InputError, match=r"stream.kind: got class_incremental; toy has no test set"):
        build_stream(StreamSettings(), data, seed=0)


def test_a_sequence_with_a_test_set_is_evaluated_on_it():
    stream = build_stream(StreamSettings(kind="sequence"), arrays(), seed=0)
    assert len(stream.tests) == 1 and stream.starts == (0,)
    assert len(build_stream(StreamSettings(kind="sequence"), arrays(), seed=0, evaluate="validation").tests) == 0


def test_groups_of_classes_stay_together():
    data = replace(arrays(), groups=((0, 3), (1,), (2, 4, 5)))
    stream = build_stream(StreamSettings(experiences=3), data, seed=0)
    assert sorted(tuple(labels.unique().tolist()) for labels in shown(stream)) == [(0, 3), (1,), (2, 4, 5)]
    assert len(build_stream(StreamSettings(experiences=1), data, seed=0).tests[0][1].unique()) == 6
    with pytest.raises(InputError, match=r"got 4, the data set has only 3 groups of classes"):
        build_stream(StreamSettings(experiences=4), data, seed=0)


def test_classes_thin_out_geometrically():
    stream = build_stream(StreamSettings(kind="stationary", experiences=1, imbalance=100.0), arrays(), seed=0)
    counts = sorted(stream.slice(0, len(stream))[1].bincount(minlength=6).tolist(), reverse=True)
    assert counts == [round(400 * 100 ** (-rank / 5)) for rank in range(6)]
    assert len(stream.tests[0][1]) == 60, "the test set stays as it is"


@pytest.mark.parametrize("kind", ["class_incremental", "permuted", "stationary", "recurring"])
def test_experiences_are_capped(kind):
    settings = StreamSettings(kind=kind, experiences=3, samples_per_experience=50, passes=2)
    stream = build_stream(settings, arrays(), seed=0)
    assert len(stream) == 3 * 50 * 2
    if kind == "permuted":  # each experience draws its own samples
        assert [len(stream.order[stream.domain == number].unique()) for number in range(3)] == [50] * 3
        assert len(stream.order.unique()) > 50
    else:
        assert stream.order.bincount().tolist().count(2) == 150


def test_label_noise_replaces_the_share_it_says_and_no_test_label():
    clean, noisy = (build_stream(StreamSettings(label_noise=share), arrays(), seed=0) for share in (0.0, 0.25))
    assert torch.equal(clean.order, noisy.order)
    before, after = clean.slice(0, len(clean))[1], noisy.slice(0, len(noisy))[1]
    wrong = before != after
    assert wrong.sum() == 600 and after.min() == 0 and after.max() == 5
    assert ((after - before)[wrong] % 6).bincount(minlength=6)[1:].min() > 80, "all other classes alike"
    for (_, a), (_, b) in zip(clean.tests, noisy.tests, strict=True):
        assert torch.equal(a, b)
    held_out = build_stream(StreamSettings(label_noise=1.0), arrays(), seed=0, evaluate="validation").tests
    assert all(torch.equal(y, (x[:, 0] % 6).long()) for x, y in held_out)


@pytest.mark.parametrize("kind", ["class_incremental", "permuted", "rotated"])
def test_bytes_become_numbers_only_when_shown(kind):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (60, 3, 8, 8), dtype=torch.uint8, generator=generator)
    y = torch.arange(60) % 6
    pixels = Arrays("toy", "made here", "-", x, y, x[:12], y[:12], 6)
    settings = StreamSettings(kind=kind, experiences=3)
    stream = build_stream(settings, pixels, seed=0, dtype=torch.float64)
    same = build_stream(settings, replace(pixels, x_train=x / 255.0, x_test=x[:12] / 255.0), seed=0)
    assert stream.x.dtype == torch.uint8 and stream.x.data_ptr() == x.data_ptr()
    assert stream.shape == (3, 8, 8) and stream.dtype == torch.float64
    for (a, _), (b, _) in zip([stream.slice(0, 60), *stream.tests], [same.slice(0, 60), *same.tests], strict=True):
        assert a.dtype == torch.float64 and b.dtype == torch.float32
        torch.testing.assert_close(a, b.double(), atol=1e-5, rtol=0)


def test_mini_batches_of_one_and_one_sample():
    stream = build_stream(StreamSettings(batch_size=1), arrays(), seed=0)
    x, y = stream.slice(5, 6)
    assert x.shape == (1, 3) and y.shape == (1,)
    torch.testing.assert_close(x[0], as_floats(stream.x[stream.order[5]]))


def test_an_experience_without_samples_is_told():
    data = arrays()
    lonely = replace(data, y_train=torch.where(data.y_train == 2, 1, data.y_train))
    with pytest.raises(InputError, match=r"stream.experiences: got 6, too many"):
        build_stream(StreamSettings(experiences=6), lonely, seed=0)
    with pytest.raises(InputError, match=r"no held-out sample of classes \[\d\]"):
        build_stream(StreamSettings(experiences=6), replace(data, y_test=data.y_test.clamp(min=1)), seed=0)


@pytest.mark.parametrize("name", ["mnist-shifts", "fashion_mnist-shifts"])
@pytest.mark.parametrize("evaluate", ["test", "validation"])
def test_shipped_shifts_are_two_abrupt_and_two_blended(name, evaluate):
    stream = build_stream(
        load_task(f"continual/{name}")[1].stream, arrays(per_class=6000, classes=10), seed=0, evaluate=evaluate
    )
    assert len(stream) == 12_800 and stream.blends == (0, 640, 0, 640) and stream.shifts[::2] == (2560, 7040)
    assert all(0 <= shift - start < 640 for shift, start in zip(stream.shifts[1::2], (4800, 9280), strict=True))


@pytest.mark.parametrize(
    ("name", "length", "stops"), [("mnist-stationary", 200_000, 5), ("permuted_mnist", 600_000, 10)]
)
def test_shipped_streams_have_the_length_they_say(name, length, stops):
    stream = build_stream(load_task(f"continual/{name}")[1].stream, arrays(per_class=6000, classes=10), seed=0)
    assert len(stream) == length and len(stream.stops) == stops

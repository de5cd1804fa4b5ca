import io

import pytest
import torch

from ndm_apps.engine import NDM
from ndm_apps.engine.interpretation import interpret
from ndm_apps.plugins.geometry_pictures import geometry_pictures


def found(depth=2, classes=3, flat=False):
    torch.manual_seed(0)
    network = NDM(3, head=3, depth=depth, coupling_hidden=(8,), metric_hidden=(8,)).double()
    if flat:
        for layer in network.layers:
            layer.metric.mlp.requires_grad_(False)
            for parameter in layer.metric.mlp.parameters():
                parameter.zero_()
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(100) % classes
    return interpret(network, x[:20], y[:20], x[20:], y[20:], torch.Generator().manual_seed(0), weight=0.1)


ALL = {"geometry_slice", "geometry_samples", "geometry_paths", "geometry_layers"}


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        ({"": {}}, ALL),
        ({"chart 1": {}, "chart 2": {"depth": 1, "classes": 1}}, ALL),
        ({"one class": {"classes": 1}}, ALL - {"geometry_paths"}),
        ({"flat": {"flat": True}}, ALL),
    ],
    ids=["one", "two", "one class", "flat"],
)
@pytest.mark.filterwarnings("error::UserWarning", "error:::matplotlib")
def test_pictures_can_be_drawn_and_say_what_they_show(shown, names):
    shown = {name: found(**settings) for name, settings in shown.items()}
    pictures = geometry_pictures(shown)
    assert set(pictures) == names
    for name, picture in pictures.items():
        picture.figure.savefig(io.BytesIO(), format="svg")
        rows = [one for one in shown.values() if name != "geometry_paths" or one.interpolations is not None]
        drawn = [axes for axes in picture.figure.axes if axes.get_label() != "<colorbar>"]
        assert len(drawn) == len(rows) * (4 if name == "geometry_paths" else 2)
        assert picture.caption.endswith(".") and len(picture.caption) > 100


def test_no_more_than_six_rows():
    one = found(depth=1)
    pictures = geometry_pictures({str(number): one for number in range(9)})
    assert len(pictures["geometry_samples"].figure.axes) == 12

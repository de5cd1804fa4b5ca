r"""What the geometry of a trained network says about its data, in numbers and in arrays that a picture needs.

One call looks at a classifier from the chart of one of its layers::

    generator = torch.Generator().manual_seed(seed)
    found = interpret(network, x, y, train_x, train_y, generator, weight=settings.geometric)
    Result(values=found.values, pictures=geometry_pictures({"last layer": found}))

``network`` is an :class:`~ndm_apps.engine.NDM` that classifies; x ``(samples, features)`` held-out inputs as it takes
them, y their labels ``(samples,)``; ``train_x, train_y`` what it was trained on; ``generator`` a seeded one on the CPU;
``weight`` that of the geometric loss. All in one dtype, best float64, on one device. ``found.values`` is flat JSON
(``name``, its interval ``name_low`` and ``name_high``, ``name_p`` if tested, ``name_n``; ``verdict``); the pictures
come from :mod:`ndm_apps.plugins.geometry_pictures`, a row for each name.

Each question is a function of its own of a :class:`View` (a map to the coordinates of a chart, a metric there, a
classifier from there), so that any classifier with any metric can be asked:

===============================  =======================================================================================
:func:`slice_of`                 curvature, volume element and classes on a plane of the chart
:func:`curvature_of_samples`     R, volume element and margin of each sample; which samples are flat
:func:`flat_stability`           whether the same samples are flat when noise is added to the input
:func:`boundary_ranks`           whether curvature and volume know the distance from the decision boundary
:func:`neighbour_agreement`      labels of nearest neighbours, by geodesic and by Euclidean distance
:func:`interpolations`           geodesics and straight lines between classes: classes, data and curvature along them
:func:`layer_discrepancy`        how far the metrics of consecutive layers are from being one tensor
===============================  =======================================================================================

Intervals cover 95 %. Nothing is drawn from a global random-number generator.
"""

from ndm_apps.engine.interpretation.curvature import CurvedSamples as CurvedSamples
from ndm_apps.engine.interpretation.curvature import Slice as Slice
from ndm_apps.engine.interpretation.curvature import Stability as Stability
from ndm_apps.engine.interpretation.curvature import boundary_ranks as boundary_ranks
from ndm_apps.engine.interpretation.curvature import curvature_of_samples as curvature_of_samples
from ndm_apps.engine.interpretation.curvature import flat_stability as flat_stability
from ndm_apps.engine.interpretation.curvature import slice_of as slice_of
from ndm_apps.engine.interpretation.interpret import Interpretation as Interpretation
from ndm_apps.engine.interpretation.interpret import interpret as interpret
from ndm_apps.engine.interpretation.layers import LayerDiscrepancy as LayerDiscrepancy
from ndm_apps.engine.interpretation.layers import layer_discrepancy as layer_discrepancy
from ndm_apps.engine.interpretation.neighbours import Neighbours as Neighbours
from ndm_apps.engine.interpretation.neighbours import neighbour_agreement as neighbour_agreement
from ndm_apps.engine.interpretation.paths import Interpolations as Interpolations
from ndm_apps.engine.interpretation.paths import interpolations as interpolations
from ndm_apps.engine.interpretation.view import View as View
from ndm_apps.engine.interpretation.view import view_of as view_of

"""The Neural Differential Manifold, part by part as the paper names them. The public door of the package."""

from ndm_apps.engine.atlas import Atlas as Atlas
from ndm_apps.engine.checkpoint import load_metadata as load_metadata
from ndm_apps.engine.checkpoint import load_state as load_state
from ndm_apps.engine.checkpoint import random_states as random_states
from ndm_apps.engine.checkpoint import restore_random_states as restore_random_states
from ndm_apps.engine.checkpoint import save_state as save_state
from ndm_apps.engine.coordinates import Affine as Affine
from ndm_apps.engine.coordinates import AffineCoupling as AffineCoupling
from ndm_apps.engine.coordinates import Composition as Composition
from ndm_apps.engine.coordinates import CoordinateMap as CoordinateMap
from ndm_apps.engine.coordinates import alternating_couplings as alternating_couplings
from ndm_apps.engine.evolution import GeometricLoss as GeometricLoss
from ndm_apps.engine.evolution import GeometricTerms as GeometricTerms
from ndm_apps.engine.evolution import constant as constant
from ndm_apps.engine.evolution import linear_warmup as linear_warmup
from ndm_apps.engine.gaussian_chart import GaussianChart as GaussianChart
from ndm_apps.engine.layer import Geometry as Geometry
from ndm_apps.engine.layer import ManifoldLayer as ManifoldLayer
from ndm_apps.engine.metric_net import MetricNet as MetricNet
from ndm_apps.engine.natural_gradient import NaturalGradient as NaturalGradient
from ndm_apps.engine.network import NDM as NDM
from ndm_apps.engine.readout import NaturalGradientReadout as NaturalGradientReadout

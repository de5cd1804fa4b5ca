"""Differential geometry of any metric x -> g(x) that torch can differentiate. The public door of the package."""

from typing import TYPE_CHECKING

from ndm_apps.geometry.analytic import Conformal as Conformal
from ndm_apps.geometry.analytic import Ellipsoid as Ellipsoid
from ndm_apps.geometry.analytic import Euclidean as Euclidean
from ndm_apps.geometry.analytic import Hyperbolic as Hyperbolic
from ndm_apps.geometry.analytic import Product as Product
from ndm_apps.geometry.analytic import Sphere as Sphere
from ndm_apps.geometry.analytic import Torus as Torus
from ndm_apps.geometry.analytic import Warped as Warped
from ndm_apps.geometry.analytic import pullback as pullback
from ndm_apps.geometry.curvature import christoffel as christoffel
from ndm_apps.geometry.curvature import ricci as ricci
from ndm_apps.geometry.curvature import riemann as riemann
from ndm_apps.geometry.curvature import sectional_curvature as sectional_curvature
from ndm_apps.geometry.exponential import GeodesicFlow as GeodesicFlow
from ndm_apps.geometry.exponential import GeodesicWarning as GeodesicWarning
from ndm_apps.geometry.exponential import exp_map as exp_map
from ndm_apps.geometry.exponential import geodesic_flow as geodesic_flow
from ndm_apps.geometry.finsler import Finsler as Finsler
from ndm_apps.geometry.geodesic import Geodesic as Geodesic
from ndm_apps.geometry.geodesic import distance as distance
from ndm_apps.geometry.geodesic import geodesic as geodesic
from ndm_apps.geometry.geodesic import log_map as log_map
from ndm_apps.geometry.killing import KillingField as KillingField
from ndm_apps.geometry.killing import KillingFields as KillingFields
from ndm_apps.geometry.killing import LieAlgebra as LieAlgebra
from ndm_apps.geometry.killing import killing_fields as killing_fields
from ndm_apps.geometry.killing import lie_algebra as lie_algebra
from ndm_apps.geometry.killing_tensors import KillingTensor as KillingTensor
from ndm_apps.geometry.killing_tensors import KillingTensors as KillingTensors
from ndm_apps.geometry.killing_tensors import killing_tensors as killing_tensors
from ndm_apps.geometry.lie_group import LeftInvariant as LeftInvariant
from ndm_apps.geometry.mean import FrechetMean as FrechetMean
from ndm_apps.geometry.mean import frechet_mean as frechet_mean
from ndm_apps.geometry.metric import HasScalarCurvature as HasScalarCurvature
from ndm_apps.geometry.metric import Metric as Metric
from ndm_apps.geometry.metric import inner as inner
from ndm_apps.geometry.metric import log_volume_element as log_volume_element
from ndm_apps.geometry.metric import lower_index as lower_index
from ndm_apps.geometry.metric import norm as norm
from ndm_apps.geometry.metric import raise_index as raise_index
from ndm_apps.geometry.metric import volume_element as volume_element
from ndm_apps.geometry.obstruction import KillingBound as KillingBound
from ndm_apps.geometry.obstruction import killing_bound as killing_bound
from ndm_apps.geometry.operators import hessian as hessian
from ndm_apps.geometry.operators import laplacian as laplacian
from ndm_apps.geometry.randers import Randers as Randers
from ndm_apps.geometry.randers import zermelo as zermelo
from ndm_apps.geometry.relaxation import Relaxed as Relaxed
from ndm_apps.geometry.relaxation import relaxed_geodesic as relaxed_geodesic
from ndm_apps.geometry.scalar import HasCurvatureEstimates as HasCurvatureEstimates
from ndm_apps.geometry.scalar import mean_square_curvature as mean_square_curvature
from ndm_apps.geometry.scalar import scalar_curvature as scalar_curvature
from ndm_apps.geometry.scalar import scalar_curvature_from_jets as scalar_curvature_from_jets
from ndm_apps.geometry.transport import parallel_transport as parallel_transport

if TYPE_CHECKING:
    from ndm_apps.geometry.manifold import LearnedManifold as LearnedManifold


def __getattr__(name: str) -> object:
    # geoopt is imported when it is first asked for: nothing else here needs it.
    if name == "LearnedManifold":
        from ndm_apps.geometry.manifold import LearnedManifold

        return LearnedManifold
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Differential geometry of any metric x -> g(x) that torch can differentiate. The public door of the package."""

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
from ndm_apps.geometry.metric import HasScalarCurvature as HasScalarCurvature
from ndm_apps.geometry.metric import Metric as Metric
from ndm_apps.geometry.metric import inner as inner
from ndm_apps.geometry.metric import log_volume_element as log_volume_element
from ndm_apps.geometry.metric import lower_index as lower_index
from ndm_apps.geometry.metric import norm as norm
from ndm_apps.geometry.metric import raise_index as raise_index
from ndm_apps.geometry.metric import volume_element as volume_element
from ndm_apps.geometry.operators import laplacian as laplacian
from ndm_apps.geometry.scalar import scalar_curvature as scalar_curvature
from ndm_apps.geometry.scalar import scalar_curvature_from_jets as scalar_curvature_from_jets

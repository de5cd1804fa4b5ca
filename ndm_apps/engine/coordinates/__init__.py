"""Coordinate Layer: invertible maps between coordinates of one chart, with their volume change and exact inverse."""

from ndm_apps.engine.coordinates.affine import Affine as Affine
from ndm_apps.engine.coordinates.base import Composition as Composition
from ndm_apps.engine.coordinates.base import CoordinateMap as CoordinateMap
from ndm_apps.engine.coordinates.coupling import AffineCoupling as AffineCoupling
from ndm_apps.engine.coordinates.families import FamilyName as FamilyName
from ndm_apps.engine.coordinates.families import alternating_couplings as alternating_couplings
from ndm_apps.engine.coordinates.orthogonal import OrthogonalMixing as OrthogonalMixing
from ndm_apps.engine.coordinates.smooth import SmoothCoupling as SmoothCoupling
from ndm_apps.engine.coordinates.spline import SplineCoupling as SplineCoupling

"""Nothing is made on torch's default device: results are where the arguments are."""

import pytest
import torch
from torch import Tensor

from ndm_apps.geometry import (
    Conformal,
    Ellipsoid,
    Euclidean,
    LeftInvariant,
    Product,
    Sphere,
    Warped,
    christoffel,
    distance,
    exp_map,
    frechet_mean,
    hessian,
    killing_bound,
    killing_fields,
    killing_tensors,
    laplacian,
    lie_algebra,
    log_map,
    mean_square_curvature,
    parallel_transport,
    pullback,
    ricci,
    scalar_curvature,
    scalar_curvature_from_jets,
    sectional_curvature,
    zermelo,
)
from tests.geometry.examples import points

SPHERE = Sphere(2)


def _sum(x: Tensor) -> Tensor:
    return x.sum(-1)


FUNCTIONS = {
    "christoffel": lambda x: christoffel(SPHERE, x),
    "ricci": lambda x: ricci(SPHERE, x),
    "scalar": lambda x: scalar_curvature_from_jets(SPHERE, x),
    "sectional": lambda x: sectional_curvature(SPHERE, x, x, x.flip(-1)),
    "mean square": lambda x: mean_square_curvature(SPHERE, x, generator=torch.Generator("cpu").manual_seed(0)),
    "exp": lambda x: exp_map(SPHERE, x, x),
    "steps": lambda x: exp_map(SPHERE, x, x, steps=4),
    "log": lambda x: log_map(SPHERE, x / 2, x.flip(0) / 2),
    "wind": lambda x: distance(zermelo(SPHERE, lambda y: y / 10), x / 2, x.flip(0) / 2),
    "mean": lambda x: frechet_mean(SPHERE, x[:4]).point,
    "transport": lambda x: parallel_transport(SPHERE, x, x[0]),
    "laplacian": lambda x: laplacian(SPHERE, _sum, x),
    "hessian": lambda x: hessian(SPHERE, _sum, x),
    "vectors": lambda x: killing_fields(SPHERE, x, degree=2)[0](x),
    "algebra": lambda x: lie_algebra(killing_fields(SPHERE, x, degree=2), x).structure,
    "tensors": lambda x: killing_tensors(SPHERE, x, degree=2, angles=[1])[0](x),
    "bound": lambda x: killing_bound(Ellipsoid(), x).singular_values,
    "pullback": lambda x: scalar_curvature(pullback(SPHERE, lambda y: 2 * y), x),
    "warped": lambda x: Warped(Euclidean(1), Euclidean(1), lambda y: 2 + y[..., 0]).riemann(x),
    "conformal": lambda x: Conformal(_sum, SPHERE).riemann(x),
    "product": lambda x: Product(SPHERE, SPHERE).riemann(torch.cat((x, x), -1)),
    "group": lambda x: LeftInvariant((1.0, 2.0, 2.0)).riemann(torch.cat((x, x[..., :1]), -1)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_are_where_the_arguments_are(name, dtype):
    x = points(SPHERE, 40, dtype=dtype)
    with torch.device("meta"):  # what is made there has no values: it can be combined with nothing
        result = FUNCTIONS[name](x)
    assert (result.device.type, result.dtype) == ("cpu", dtype)
    assert torch.isfinite(result).all()

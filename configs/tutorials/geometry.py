"""Tutorial: what a metric is, and what it tells (a few seconds).

A metric says how long a small step is, and the answer may depend on where the step is taken. On a map of the Earth a
centimetre near the pole means fewer kilometres than one at the equator: the map's coordinates are flat, the metric
knows that the Earth is not. Run this file with ``python geometry.py``.
"""

import torch

from ndm_apps.engine import MetricNet
from ndm_apps.geometry import Sphere, distance, geodesic, scalar_curvature

# 1. The simplest metric that is not flat: a matrix g(x) at each point x. The length of a small step v is sqrt(v' g(x)
# v). Here steps grow longer the further out we are.


def hill(x: torch.Tensor) -> torch.Tensor:
    """Return g(x) = (1 + |x|^2) times the identity, (..., 2) -> (..., 2, 2)."""
    scale = 1 + x.square().sum(-1)
    return scale[..., None, None] * torch.eye(2, dtype=x.dtype)


a, b = torch.tensor([-1.0, 1.0], dtype=torch.float64), torch.tensor([1.0, 1.0], dtype=torch.float64)

# 2. The shortest way between two points is a geodesic. It bends towards the middle, where steps are short.
path = geodesic(hill, a, b)
middle = path.points[len(path.points) // 2]
print(f"the straight line passes (0, 1), the geodesic ({middle[0]:.3f}, {middle[1]:.3f})")
print(f"its length is {distance(hill, a, b):.4f}")
assert abs(float(middle[0])) < 1e-3 and float(middle[1]) < 0.99

# 3. Curvature tells whether a metric is flat in other coordinates (zero everywhere) or truly bent. A sphere of radius
# 1 has the scalar curvature 2 at each of its points, whatever coordinates we use.
points = 0.5 * torch.randn(1000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
print(f"curvature of the sphere: {scalar_curvature(Sphere(2), points).mean():.6f}")
print(f"curvature of the hill at its top: {scalar_curvature(hill, torch.zeros(2, dtype=torch.float64)):.3f}")

# 4. A Metric Net is a network whose output at x is such a matrix: a geometry that can be learnt. All of the above
# works on it, curvature exactly and with gradients, so that it can stand in a loss.
torch.manual_seed(0)
learnt = MetricNet(2).double()
curvature = learnt.scalar_curvature(points[:100])
curvature.square().mean().backward()
print(f"curvature of an untrained Metric Net: {curvature.abs().mean():.4f} on average, close to flat")

"""Tutorial: training a Neural Differential Manifold, by hand (about ten seconds).

The network changes coordinates layer by layer, by maps that can be undone, and learns in each layer a metric: which
directions count, and where. A geometric loss beside the task's own keeps that geometry smooth. Run this file with
``python supervised.py``.
"""

import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

from ndm_apps.engine import NDM, GeometricLoss

# 1. Few samples: 200 handwritten digits, projected onto 16 principal components; the rest is for testing.
images, labels = load_digits(return_X_y=True)
pixels, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
train, test = order[:200], order[200:]
centre = pixels[train].mean(0)
directions = torch.linalg.svd(pixels[train] - centre, full_matrices=False).Vh[:16]
x = (pixels - centre) @ directions.T

# 2. Two layers, each a chart with a metric, and a linear head. The network returns its outputs and the geometry of
# each layer.
torch.manual_seed(0)
network = NDM(16, head=10, structure="conformal", metric_hidden=(16,), mixing=True)
geometric = GeometricLoss(curvature=1.0, volume=1.0)
optimiser = torch.optim.Adam(network.parameters(), 3e-3)

# 3. The loss of the paper: L = L_task + lambda L_geo. Geometry costs the most, so it is taken at 8 points of each
# batch.
draw = torch.Generator().manual_seed(1)
for step in range(100):
    batch = train[torch.randperm(200, generator=draw)[:50]]
    outputs, layers = network(x[batch])
    task = cross_entropy(outputs, y[batch])
    geo = geometric([layer.at(torch.arange(8)) for layer in layers]).total
    optimiser.zero_grad()
    (task + 0.01 * geo).backward()
    optimiser.step()
    if step % 25 == 24:
        print(f"step {step + 1}: L_task {task.item():.3f}, L_geo {geo.item():.2e}")

# 4. What it knows of samples it has not seen, and how curved the space is in which it tells them apart.
network.eval()
with torch.no_grad():
    outputs, layers = network(x[test])
right = (outputs.argmax(1) == y[test]).float().mean()
print(f"right on {len(test)} unseen digits: {right:.1%}; mean curvature there {layers[-1].curvature.mean():.2g}")
assert right > 0.85

# Does L_geo help? README and `ndm sweep claims/generalisation` say: measured over seeds, hardly. That is why it is a
# setting. Two processes: `torchrun --nproc-per-node 2 -m ndm_apps run claims/generalisation`.

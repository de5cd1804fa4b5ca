"""Tutorial: learning from a stream that changes, without being told when (about ten seconds).

Networks that are trained on one thing after another forget: gradients for the new overwrite the old. And outside of
benchmarks nobody says when "the new" begins. Here a detector finds the moment, and a classifier learns on without
forgetting, keeping no past sample. Run this file with ``python continual.py``.
"""

import torch
from sklearn.datasets import load_digits

from ndm_apps.plugins.continual import NDMClassifier, ShiftDetector

# 1. A stream: 1797 handwritten digits, first only 0 to 4, then, unannounced, only 5 to 9.
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
held_out, order = order[:300], order[300:]
stream = torch.cat([order[y[order] < 5], order[y[order] >= 5]])
change = int((y[stream] < 5).sum())

# 2. The detector embeds samples in a few dimensions, where each label is one Gaussian component of a chart. A sample
# that no component explains is a surprise; the detector bets against there being no change, and raises an alarm when
# it has won much. What it wins is a martingale, so false alarms are rare by construction, not by tuning.
detector = ShiftDetector(dimension=24, warmup=64, arm_scores=20, arm_samples=20, burn_in=32)

# 3. The classifier maps samples through a frozen random layer, and solves for the read-out in closed form from sums
# over the stream. Sums do not depend on the order of what is added: there is nothing to forget.
classifier = NDMClassifier()

for batch in stream.split(32):
    classifier.learn(x[batch], y[batch])
    if detector.update(x[batch], y[batch]):
        print(f"the stream changed at sample {change}; alarm at sample {detector.alarms[-1]}")

# 4. All ten digits are known, also those not seen for 700 samples.
right = classifier(x[held_out]).argmax(1) == y[held_out]
old = y[held_out] < 5
print(f"right on held-out digits: {right.float().mean():.1%}; on 0 to 4, seen first: {right[old].float().mean():.1%}")
assert len(detector.alarms) == 1 and change <= detector.alarms[0] < change + 100
assert right[old].float().mean() > 0.9

# Next: `ndm run continual/digits` does this as a run, with a page; `ndm sweep continual/digits` compares it with
# other methods; ndm_apps.plugins.continual.NDMStrategy is the same as an Avalanche strategy.

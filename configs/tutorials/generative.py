"""Tutorial: walking between images through a latent space (about twenty seconds).

An autoencoder turns an image into a few numbers, its code, and a code back into an image. Half-way between the codes of
two images lies another code, but not always one of an image that looks real: straight lines cross regions where no data
lie. Here the space of codes gets a metric in which such regions are far away, and the shortest ways in it, geodesics,
go round them. Run this file with ``python generative.py``.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from ndm_apps.config import load_config
from ndm_apps.run import execute

# 1. A config says what is solved and how; this one ships with the package. We change a few values, as --set does on the
# command line, so that it is done in seconds: fewer passes, fewer pairs, and of all paths only the geodesics.
config = load_config(
    "generative/digits",
    [
        "methods.ndm.model.epochs=40",
        "methods.ndm.head.steps=300",
        "methods.ndm.paths=[geodesic]",
        "task.score.pairs=40",
        "task.score.samples=200",
        "seed=1000",
    ],
)

# 2. A run trains the autoencoder, fits the density of its codes, and makes the metric from it: steps where codes are
# rare, or where a classifier would be unsure, are long. A judge that has seen none of the model's images then looks at
# the images along paths between test images.
with TemporaryDirectory() as folder:
    result = execute(config, Path(folder, "run"), track=False)

# 3. The share of images along the way of which the judge says that they might be no digit at all, between two digits of
# different classes. A path from a 3 to an 8 has to pass something in between; what counts is how much of it.
for path in ("line", "geodesic"):
    scores = result["interpolation"][path]["different"]
    print(f"{path:10} of low confidence: {scores['low']:.3f}")
print(f"{result['interpolation']['geodesic']['converged']:.0%} of the geodesics were found to tolerance")
print(result["verdict"])
assert result["interpolation"]["geodesic"]["converged"] > 0.9

# Next: `ndm run generative/digits` does it in full, with pictures on its page; own images: {npz: FILE}.

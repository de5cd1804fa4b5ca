"""Classes that are Gaussian blobs, six of them in ten dimensions: data of a continual learner's tests."""

import torch

CENTRES = torch.randn(6, 10, generator=torch.Generator().manual_seed(0)) * 3


def blobs(classes: list[int], count: int = 400, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw samples of some classes, with their labels."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.tensor(classes)[torch.randint(len(classes), (count,), generator=generator)]
    return CENTRES[y] + torch.randn(count, 10, generator=generator), y

"""A small latent model that is not trained: three classes around three Gaussians in four dimensions, float64."""

import torch

from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.model_settings import AutoencoderSettings, DensitySettings, HeadSettings


def small_model(classes=3, shape=(6,)):
    torch.manual_seed(1000)
    settings = AutoencoderSettings(dimension=4, hidden=(16,), flow=0)
    model = LatentModel(shape, classes, settings, DensitySettings(components=3), HeadSettings(hidden=(16,))).double()
    centres = 3 * torch.eye(3, 4).double()
    model.density.means.copy_(centres)
    z = codes(400)
    log_p = model.log_density(z)
    model.density_levels.copy_(log_p.quantile(torch.tensor([0.05, 0.5]).double()))
    model.scale.copy_(2 * z.var(0).sum())
    if classes:
        # Logits that are large near their own centre.
        with torch.no_grad():
            model.head[0].weight.copy_(torch.randn(16, 4) / 2)
            model.head[2].weight.copy_(torch.randn(classes, 16) * 2)
    return model.requires_grad_(False)


def codes(*shape, seed=0):
    """Points drawn from the three Gaussians."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(3, shape, generator=generator)
    noise = torch.randn(*shape, 4, generator=generator, dtype=torch.double)
    return 3 * torch.eye(3, 4).double()[which] + noise

"""Training of a latent model: the autoencoder, then with it frozen the density of its codes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ndm_apps.plugins.generative.autoencoder import Code
from ndm_apps.plugins.generative.critic import Duel
from ndm_apps.plugins.generative.density import MixtureDensity
from ndm_apps.plugins.generative.descent import descend
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.model_settings import AutoencoderSettings, DensitySettings

#: Images that go through the encoder at a time when nothing is learnt.
CHUNK = 2000


class Training:
    r"""The autoencoder in training, one step after the other; it can be saved at each.

    A step descends

    .. math:: -\log p(x | z) + \beta\, [\log q(z | x) - \log p(z)], \qquad z \sim q(z | x)

    with :math:`\beta` the settings' ``kl``, q the code of x, and p the prior. In the last passes through images, the
    decoder alone goes on, with codes as they are, and against a critic; see
    :class:`~ndm_apps.plugins.generative.critic.Duel`.

    Parameters
    ----------
    model
        Its encoder, decoder and prior are trained.
    images
        (n, *shape), on the model's device.
    settings
        How.
    seed
        Of the order of images, of the noise, and of the critic.

    Attributes
    ----------
    step, steps
        Steps made, and to be made.
    loss
        Of the last step.
    """

    def __init__(self, model: LatentModel, images: Tensor, settings: AutoencoderSettings, *, seed: int) -> None:
        self.model, self.images, self.settings = model, images, settings
        self._batches = max(1, len(images) // settings.batch)
        self._generator = torch.Generator(images.device).manual_seed(seed)
        self._order = torch.arange(len(images))
        self._duel = None
        if model.images and settings.critic and any(weight.requires_grad for weight in model.decoder.parameters()):
            self._duel = Duel(model.shape, model.decoder, settings.critic, like=images, seed=seed)
        self._whole = settings.epochs * self._batches
        self.step, self.steps, self.loss = 0, self._whole, math.nan
        if self._duel is not None:
            self.steps += settings.critic_epochs * self._batches
        parts = (model.encoder, model.decoder, model.prior)
        self.optimiser = torch.optim.Adam([weight for part in parts for weight in part.parameters()])

    def advance(self) -> None:
        """Make one step."""
        number = self.step % self._batches
        if number == 0:
            self._order = torch.randperm(len(self.images), generator=self._generator, device=self.images.device)
        x = self.images[self._order[number * self.settings.batch : (number + 1) * self.settings.batch]]
        if self.step < self._whole:
            self.loss = self._step_of_all(x, self._rate(self.step / self._whole))
        else:
            self.loss = self._step_of_decoder(x, self._rate((self.step - self._whole) / (self.steps - self._whole)))
        self.step += 1

    def _rate(self, share: float) -> float:
        return self.settings.rate * (1 + math.cos(math.pi * share)) / 2

    def _step_of_all(self, x: Tensor, rate: float) -> float:
        code = self.model.encode(x)
        z = code.sample(self._generator)
        loss = reconstruction(self.model, x, self.model.outputs(z))
        loss = loss + self.settings.kl * divergence(self.model, code, z)
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.item()

    def _step_of_decoder(self, x: Tensor, rate: float) -> float:
        with torch.no_grad():
            z = self.model.encode(x).sample(self._generator)
        output = self.model.outputs(z)
        return self._duel.advance(x, output.sigmoid(), reconstruction(self.model, x, output), rate)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "duel": None if self._duel is None else self._duel.state_dict(),
            "generator": self._generator.get_state(),
            "order": self._order,
            "step": self.step,
            "loss": self.loss,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self._duel is not None:
            self._duel.load_state_dict(state["duel"])
        self._generator.set_state(state["generator"])
        self._order = state["order"].to(self.images.device)
        self.step, self.loss = state["step"], state["loss"]


def reconstruction(model: LatentModel, x: Tensor, output: Tensor) -> Tensor:
    r"""Return the mean of :math:`-\log p(x | z)`, without constants, from the decoder's outputs at z.

    It is Bernoulli for images, else Gaussian; the variance of the latter is the mean squared error of the batch, its
    most likely value.

    References
    ----------
    Rybkin, Daniilidis and Levine, "Simple and effective VAE training with calibrated decoders", 2021, arXiv:2006.13202.
    """
    if model.images:
        return nn.functional.binary_cross_entropy_with_logits(output, x, reduction="sum") / len(x)
    error = (output - (x - model.location) / model.spread).square().mean()
    return math.prod(model.shape) / 2 * error.log()


def divergence(model: LatentModel, code: Code, z: Tensor) -> Tensor:
    """Return the mean divergence of codes from the prior: in closed form if that is standard normal, else at z."""
    if model.prior.coordinates is None:
        return (code.mean.square() + (2 * code.log_sd).exp() - 2 * code.log_sd - 1).sum(-1).mean() / 2
    noise = (z - code.mean) / code.log_sd.exp()
    log_q = -(noise.square() / 2 + code.log_sd + math.log(2 * math.pi) / 2).sum(-1)
    return (log_q - model.prior.log_prob(z)).mean()


@torch.no_grad()
def codes(model: LatentModel, images: Tensor) -> Code:
    """Return the codes of images, a part of them at a time."""
    parts = [model.encode(part) for part in images.split(CHUNK)]
    return Code(torch.cat([part.mean for part in parts]), torch.cat([part.log_sd for part in parts]))


def fit_density(model: LatentModel, code: Code, settings: DensitySettings, *, seed: int) -> None:
    """Fit the density to the aggregated posterior: to points drawn from codes, not to their means."""
    generator = torch.Generator(code.mean.device).manual_seed(seed)
    if isinstance(model.density, MixtureDensity):
        chosen = torch.randint(len(code.mean), (settings.samples,), generator=generator, device=code.mean.device)
        z = Code(code.mean[chosen], code.log_sd[chosen]).sample(generator)
        model.density.fit(z, regular=settings.regular, seed=seed)
        return
    # From the prior on, which stays as the autoencoder has left it.
    model.density.load_state_dict(model.prior.state_dict())
    if settings.kind == "prior":
        return
    batch = 256
    steps = max(1, settings.epochs * len(code.mean) // batch)
    descend(
        model.density,
        lambda chosen: -model.density.log_prob(Code(code.mean[chosen], code.log_sd[chosen]).sample(generator)).mean(),
        len(code.mean),
        batch=batch,
        steps=steps,
        rate=settings.rate,
        generator=generator,
    )


@torch.no_grad()
def calibrate(model: LatentModel, held_out: Tensor, *, seed: int) -> None:
    """Set ``density_levels`` and ``scale`` from points drawn from the codes of images the training has not seen."""
    z = codes(model, held_out).sample(torch.Generator(held_out.device).manual_seed(seed))
    log_density = torch.cat([model.log_density(part) for part in z.split(CHUNK)])
    model.density_levels.copy_(torch.quantile(log_density, z.new_tensor([0.05, 0.5])))
    model.scale.copy_(2 * z.var(0).sum())

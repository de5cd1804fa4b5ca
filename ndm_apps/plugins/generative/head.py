"""The task head of the latent space: what a classifier of images would say of the image at each point."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ndm_apps.plugins.generative.autoencoder import Code, build_encoder
from ndm_apps.plugins.generative.descent import descend
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.model_settings import HeadSettings

#: Images that go through the teacher at a time, when it learns and when it tells.
_BATCH, _CHUNK = 128, 2000
#: Widths of its layers, for images and for vectors.
_TEACHER = {"conv": (16, 32), "mlp": (128, 128)}


def train_head(
    model: LatentModel, code: Code, images: Tensor, labels: Tensor, settings: HeadSettings, *, seed: int
) -> None:
    """Train the task head on what a classifier of images says of decoded points, at codes and between them.

    Trained on codes and labels alone, a head is as sure between codes as it is at them: nothing has told it that the
    images there are of no class.

    Parameters
    ----------
    model
        Its decoder is trained; its head will be.
    code
        Codes of all training images, between which points are taken.
    images, labels
        Those whose labels may be known: (n, *shape) and (n,). The classifier is trained on them.
    settings
        How.
    seed
        Of the classifier, the points, and the order of both.

    References
    ----------
    Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, arXiv:1503.02531.
    """
    assert model.head is not None
    distil(model, model.head, code, images, labels, settings, seed=seed)


def distil(
    model: LatentModel,
    head: nn.Sequential,
    code: Code,
    images: Tensor,
    labels: Tensor,
    settings: HeadSettings,
    *,
    seed: int,
    temperature: float = 1.0,
) -> None:
    """Train a head of the latent space on what a classifier says, its logits divided by the temperature.

    The arguments are those of :func:`train_head`, and the labels may be any; the classifier is thrown away.
    """
    generator = torch.Generator(images.device).manual_seed(seed)
    teacher = _teacher(model, head[-1].out_features, images, labels, settings, seed, generator)
    z = points_between(code, settings.points, generator)
    with torch.no_grad():
        logits = torch.cat([_logits(model, teacher, model.decode(part)) for part in z.split(_CHUNK)])
    told = (logits / temperature).log_softmax(-1)

    def loss(chosen: Tensor) -> Tensor:
        said = head(z[chosen]).log_softmax(-1)
        return nn.functional.kl_div(said, told[chosen], log_target=True, reduction="batchmean")

    descend(head, loss, len(z), batch=settings.batch, steps=settings.steps, rate=settings.rate, generator=generator)


def points_between(code: Code, count: int, generator: torch.Generator) -> Tensor:
    """Draw points (count, d) from codes, a third of them, and on straight lines between two codes, the others."""

    def drawn() -> Tensor:
        chosen = torch.randint(len(code.mean), (count,), generator=generator, device=generator.device)
        return Code(code.mean[chosen], code.log_sd[chosen]).sample(generator)

    a, b = drawn(), drawn()
    t = torch.rand(count, 1, generator=generator, device=generator.device, dtype=a.dtype)
    t[: count // 3] = 0
    return a + t * (b - a)


def _teacher(
    model: LatentModel,
    classes: int,
    images: Tensor,
    labels: Tensor,
    settings: HeadSettings,
    seed: int,
    generator: torch.Generator,
) -> nn.Module:
    kind = "conv" if model.images else "mlp"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        teacher = build_encoder(kind, _TEACHER[kind], model.shape, classes).to(images)

    def loss(chosen: Tensor) -> Tensor:
        return nn.functional.cross_entropy(_logits(model, teacher, images[chosen]), labels[chosen])

    descend(
        teacher,
        loss,
        len(images),
        batch=_BATCH,
        steps=settings.teacher_steps,
        rate=settings.teacher_rate,
        generator=generator,
    )
    return teacher


def _logits(model: LatentModel, teacher: nn.Module, images: Tensor) -> Tensor:
    return teacher((images - model.location) / model.spread)

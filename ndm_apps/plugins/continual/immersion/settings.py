"""Settings of the immersions: which map of samples to features, fixed by the first samples of a stream."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ndm_apps.plugins.base import Schema, Settings

Samples = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=0, le=100_000)]
Coordinates = Annotated[int, Field(ge=1, le=10_000)]


class IdentitySettings(Schema):
    """The samples themselves as vectors."""

    kind: Literal["identity"] = "identity"


class LiftSettings(Schema):
    """The samples as vectors beside a random ReLU layer of them.

    Attributes
    ----------
    samples
        First samples of the stream that fix the scaling.
    width
        Units of the random layer.
    """

    kind: Literal["lift"] = "lift"
    samples: Samples = 1
    width: Width = 1000


class PatchSettings(Schema):
    """Pooled responses of images to a dictionary of whitened patches, beside a random ReLU layer of them.

    Attributes
    ----------
    samples
        First samples of the stream that everything is fitted on.
    patch
        Side of the square patches in pixels.
    filters
        Size K of the dictionary.
    dictionary
        ``kmeans``: centres of spherical k-means; ``patches``: patches drawn at random; ``random``: random
        filters, that is directions drawn evenly among the whitened patches.
    contrast
        Added to each patch's variance before it is normalised, relative to the variance of all pixels: patches of
        less contrast count less.
    whitening
        Added to the eigenvalues of the covariance of normalised patches before they are whitened.
    threshold
        Soft threshold of both signs of a response, relative to the length of a filter (1).
    pool
        Sides of the square grids of cells that responses are averaged in; several make a pyramid.
    smoothing
        Standard deviation of the Gaussian windows that stand in for the cells, in sides of a cell; 0 for plain cells.
    power
        Exponent of the pooled responses.
    lift, coordinates
        Units of the random layer, and principal components of the pooled responses that it sees.
    mirror
        Add up the features of each image and of its mirror image (left-right), so that both count as the same.
    resize
        Side in pixels that images are brought to first, ``null`` for their own size.
    """

    kind: Literal["patches"] = "patches"
    samples: Samples = 2000
    patch: Annotated[int, Field(ge=1, le=64)] = 7
    filters: Annotated[int, Field(ge=1, le=16_384)] = 96
    dictionary: Literal["kmeans", "patches", "random"] = "kmeans"
    contrast: Annotated[float, Field(gt=0.0, le=1e3)] = 0.1
    whitening: Annotated[float, Field(gt=0.0, le=1e3)] = 0.2
    threshold: Annotated[float, Field(ge=0.0, le=1e3)] = 0.15
    pool: Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=4)] = (4,)
    smoothing: Annotated[float, Field(ge=0.0, le=100.0)] = 0.4
    power: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    lift: Width = 2000
    coordinates: Coordinates = 100
    mirror: bool = False
    resize: Annotated[int, Field(ge=2, le=1024)] | None = None


ImmersionSettings = Annotated[IdentitySettings | LiftSettings | PatchSettings, Field(discriminator="kind")]


class WithImmersion(Settings):
    """Base of the settings of every method: what it is shown.

    Attributes
    ----------
    immersion
        The map from samples to the features that the method learns from; ``null`` for the samples themselves.
    """

    needs_boundaries: ClassVar[bool] = False
    immerses_itself: ClassVar[bool] = False

    immersion: ImmersionSettings | None = None

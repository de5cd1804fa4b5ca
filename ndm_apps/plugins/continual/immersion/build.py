"""From settings to an immersion."""

from __future__ import annotations

from ndm_apps.plugins.continual.immersion.base import Immersion
from ndm_apps.plugins.continual.immersion.identity import Identity
from ndm_apps.plugins.continual.immersion.lift import PrincipalLift, RandomLift
from ndm_apps.plugins.continual.immersion.patches import PatchDictionary
from ndm_apps.plugins.continual.immersion.settings import IdentitySettings, ImmersionSettings, LiftSettings


def build(settings: ImmersionSettings, *, seed: int) -> Immersion:
    """Make the immersion that the settings describe, not fitted yet; everything random in it is drawn from ``seed``.

    A network of one's own is no setting: wrap it in :class:`~.frozen.FrozenModule`, and that, if wanted, in
    :class:`~.lift.PrincipalLift`.

    Examples
    --------
    >>> from ndm_apps.plugins.continual.immersion.settings import PatchSettings
    >>> build(PatchSettings(filters=64, lift=500), seed=0).samples
    2000
    """
    if isinstance(settings, IdentitySettings):
        return Identity()
    if isinstance(settings, LiftSettings):
        return RandomLift(settings.width, seed=seed, samples=settings.samples)
    patches = PatchDictionary(**settings.model_dump(exclude={"kind", "lift", "coordinates"}), seed=seed)
    if not settings.lift:
        return patches
    return PrincipalLift(patches, settings.lift, coordinates=settings.coordinates, seed=seed)

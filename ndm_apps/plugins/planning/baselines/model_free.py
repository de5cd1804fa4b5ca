"""SAC and TD3, which learn a policy without a model (stable-baselines3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ndm_apps.errors import InputError
from ndm_apps.plugins.planning.baselines.settings import ModelFreeSettings

if TYPE_CHECKING:
    import gymnasium


class ModelFree:
    """A :class:`~ndm_apps.plugins.planning.controller.Controller` of observations instead of states.

    Parameters
    ----------
    algorithm
        ``"sac"`` or ``"td3"``.
    env
        Environment to learn in, with continuous actions.
    settings
        See :class:`~ndm_apps.plugins.planning.baselines.settings.ModelFreeSettings`.
    seed
        Of the networks, the exploration and the environment.

    Raises
    ------
    InputError
        If stable-baselines3 is not installed, or the actions are discrete.

    References
    ----------
    Haarnoja, Zhou, Abbeel, Levine, "Soft actor-critic", ICML 2018; Fujimoto, van Hoof, Meger, "Addressing function
    approximation error in actor-critic methods", ICML 2018.
    """

    def __init__(
        self, algorithm: Literal["sac", "td3"], env: gymnasium.Env[Any, Any], settings: ModelFreeSettings, seed: int
    ) -> None:
        try:
            import stable_baselines3
        except ImportError:
            raise InputError(f"method {algorithm} needs stable-baselines3: pip install 'ndm_apps[bench]'") from None
        if type(env.action_space).__name__ != "Box":
            raise InputError(f"method {algorithm} needs continuous actions, got {env.action_space}")
        kind = {"sac": stable_baselines3.SAC, "td3": stable_baselines3.TD3}[algorithm]
        policy = "MultiInputPolicy" if type(env.observation_space).__name__ == "Dict" else "MlpPolicy"
        self.model = kind(policy, env, seed=seed, device="cpu", **settings.options)
        self.model.learn(settings.steps)

    def start(self, x: Any) -> None:
        """Do nothing: the policy has no memory."""

    def control(self, x: Any) -> NDArray[np.float64]:
        """Return the action at the observation x."""
        action, _ = self.model.predict(x, deterministic=True)
        return np.asarray(action, dtype=float)

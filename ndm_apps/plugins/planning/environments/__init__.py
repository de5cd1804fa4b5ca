"""Environments of this package, registered with Gymnasium under ``ndm/`` when this module is imported."""

from gymnasium.envs.registration import register, registry

_HERE = __name__
_OWN = {
    "ndm/CartPoleSwingUp-v0": ("swing_up:CartPoleSwingUp", 200),
    "ndm/DoubleIntegrator-v0": ("integrator:DoubleIntegrator", 100),
    "ndm/Maze-v0": ("maze:Maze", 600),
    "ndm/TwoLinkArm-v0": ("arm:TwoLinkArm", 300),
    "ndm/Zermelo-v0": ("zermelo:Zermelo", 400),
}

for _name, (_class, _steps) in _OWN.items():
    if _name not in registry:
        register(_name, entry_point=f"{_HERE}.{_class}", max_episode_steps=_steps)

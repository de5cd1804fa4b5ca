"""Neural Differential Manifolds: networks that learn their own Riemannian geometry, and what one does with them.

The names a user starts with live in :mod:`ndm_apps.geometry` (curvature of any metric), :mod:`ndm_apps.engine`
(the network) and :mod:`ndm_apps.plugins` (applications). Importing this package imports neither torch nor MLflow.
"""

from importlib.metadata import version

__version__ = version("ndm-apps")
__all__ = ["__version__"]

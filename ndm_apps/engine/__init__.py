"""The Neural Differential Manifold."""

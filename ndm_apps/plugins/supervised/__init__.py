"""Supervised classification on little data: the claims of the NDM paper, tested against tuned baselines."""

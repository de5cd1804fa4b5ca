"""Baselines in the same loop as the NDM."""

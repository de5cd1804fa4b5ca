"""Immersions: maps of samples to features, fixed by the first samples of a stream and frozen from then on."""

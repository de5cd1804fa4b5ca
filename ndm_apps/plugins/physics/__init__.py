"""Physics: conserved quantities found in trajectories, as formulas, with the evidence for their number."""

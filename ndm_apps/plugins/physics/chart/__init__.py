"""A second opinion on the number of laws, from an invertible chart of states: no dictionary, and no formulas."""

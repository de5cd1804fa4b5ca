"""Other signals of a shift, beside the detector's own curvature: to compare with, one by one."""

"""The geometry of motion: kinetic metric and potential learned from positions and velocities, and their symmetries."""

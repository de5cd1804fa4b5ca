"""Other ways to control the same model, in the same loop: what the geodesic planner is measured beside.

CEM, MPPI, random shooting and iLQR plan on any Dynamics and Problem; SAC and TD3 learn without a model.
"""

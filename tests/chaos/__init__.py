"""The campaign of faults: runs and sweeps that are killed, starved and confused at chosen moments, and what is left.

``python -m tests.chaos`` (``make chaos``) injects every fault of :mod:`tests.chaos.campaign` and every wrong input of
:mod:`tests.chaos.wrong_input`; ``--write`` puts the tables into ``results/reliability/``.
"""

r"""The geometry of motion: kinetic metric and potential learned from positions and velocities, and their symmetries.

What a flat region means
------------------------
The paper on the Neural Differential Manifold expects conserved quantities where the learned metric is flat. Learned
from motions without noise (``ndm sweep physics/killing_table``, seed 0, dictionary; all counts are the true ones):

======================================  ===============  ===============  =================
motion                                  R, median        fields of g      fields of g and V
======================================  ===============  ===============  =================
free particle on the sphere             2.000, constant  3                3
spherical pendulum                      2.000, constant  3                1
bead in a paraboloid                    1.124, varies    1                1
double pendulum without gravity         -0.105, varies   1                1
double pendulum                         0.769, varies    1                0
central force in sheared coordinates    0, constant      3                1
Henon and Heiles                        0, constant      3                0
======================================  ===============  ===============  =================

* The sentence is wrong as it stands. Flat alone conserves nothing (Henon and Heiles: R = 0, no momentum), and curved
  alone breaks nothing (sphere: R = 2, three momenta). What conserves a momentum is a field along which neither metric
  nor potential change, :math:`L_\xi g = 0` and :math:`dV(\xi) = 0`: then :math:`g(\xi, \dot q)` is constant (Noether).
* Its true half: a metric has at most n (n + 1)/2 such fields, and as many only if its curvature is constant (the four
  rows with three). The potential then keeps some or none.
* What curvature can do is forbid: a direction in which R changes is none of symmetry. See
  :mod:`~ndm_apps.plugins.physics.kinetic.obstruction`.
"""

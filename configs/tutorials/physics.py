"""Tutorial: finding what is conserved, from measurements alone (about ten seconds).

While a pendulum swings, angle and velocity change all the time, but one combination of them does not: its energy.
Such a combination is a conserved quantity, or first integral. Given enough trajectories it can be found without
knowing the law of motion. Run this file with ``python physics.py``.
"""

import numpy as np
import pandas as pd
from scipy.integrate import solve_ivp

from ndm_apps.plugins.physics import discover

# 1. Measurements: 40 swings of a pendulum without friction, each from another start. In real life this is your CSV
# file.
rng = np.random.default_rng(0)
times = np.linspace(0, 15, 150)
swings = []
for number in range(40):
    start = rng.uniform([-2.0, -0.5], [2.0, 0.5])
    motion = solve_ivp(lambda t, s: [s[1], -np.sin(s[0])], (0, 15), start, t_eval=times, rtol=1e-10, atol=1e-10).y
    swings.append(pd.DataFrame({"trajectory": number, "t": times, "angle": motion[0], "velocity": motion[1]}))
frame = pd.concat(swings)

# 2. Several trajectories are needed: on a single one, anything that is constant there would look like a law.
found = discover(frame, state=["angle", "velocity"], angles=["angle"])
print(found.verdict)
for law in found.laws:
    print("conserved:", law)  # a sympy expression in the names of the columns

# 3. The energy is velocity^2 / 2 - cos(angle). A conserved quantity is only known up to units: any function of it is
# conserved as well. So we ask whether what was found moves together with the energy.
energy = frame["velocity"] ** 2 / 2 - np.cos(frame["angle"])
values = found.predict(frame).iloc[:, 0]
print(f"correlation with the energy: {abs(np.corrcoef(values, energy)[0, 1]):.6f}")
assert len(found.laws) == 1 and abs(np.corrcoef(values, energy)[0, 1]) > 0.999

# 4. Where nothing is conserved, the answer is none: with friction the energy drains away.
damped = []
for number in range(40):
    start = rng.uniform([-2.0, -0.5], [2.0, 0.5])
    motion = solve_ivp(lambda t, s: [s[1], -np.sin(s[0]) - 0.2 * s[1]], (0, 15), start, t_eval=times, rtol=1e-8).y
    damped.append(pd.DataFrame({"trajectory": number, "t": times, "angle": motion[0], "velocity": motion[1]}))
print(discover(pd.concat(damped), state=["angle", "velocity"], angles=["angle"]).verdict)

# Next: `ndm discover FILE.csv` does this from the command line, with a page of evidence; found.report("page.html")
# writes it.

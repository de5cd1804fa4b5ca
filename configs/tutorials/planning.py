"""Tutorial: learning how something moves, then planning with it (about twenty seconds).

A motor that is too weak to lift a pendulum has to swing it up: first away from the goal, to gather speed. We do not
tell the equations. An agent tries random torques, learns a model of the motion from a few hundred steps, and plans on
that model. Run this file with ``python planning.py``.
"""

from ndm_apps.plugins.planning import GeodesicAgent
from ndm_apps.plugins.planning.problem_of import open_environment
from ndm_apps.tasks import load_task

# 1. A task says WHAT is asked: environment, state, cost, goal. This one ships with the package, as a text file that
# you can copy; `ndm new task planning/mine` writes one with comments.
name, task = load_task("planning/pendulum")
env = open_environment(task)

# 2. Learn from at most 400 steps, 20 seconds of motion. The model is x' = f(x) + B(x) u: what happens by itself, and
# what the control adds. The agent stops early when the motion no longer surprises it.
agent = GeodesicAgent(env, task, seed=1000).learn(400)
print(f"learnt from {agent.learned.steps} steps of the environment")

# 3. Act. Reaching a state costs effort: steps along directions in which the motor is weak are long. In this metric
# the best plan is a geodesic, the path of least action, and the agent follows it and corrects it as it goes.
observation, _ = env.reset(seed=1004)
print(f"at the start the pendulum is at cosine {observation[0]:.3f}, where -1 is hanging")
total, first, ended = 0.0, True, False
while not ended:
    observation, reward, terminated, truncated, _ = env.step(agent.act(observation, first=first))
    total, first, ended = total + float(reward), False, terminated or truncated

# 4. The first two observations are the cosine and sine of the angle: upright is (1, 0).
print(f"return {total:.1f}; at the end it is at cosine {observation[0]:.3f}, where 1 is upright")
assert observation[0] > 0.99

# Next: `ndm run planning/pendulum` scores twenty episodes against the optimum; `ndm sweep planning/pendulum` adds a
# baseline.

"""Natural gradient: steps measured by a metric on a model's outputs, or by the metrics learned in it."""

from ndm_apps.engine.natural_gradient.optimizer import NaturalGradient as NaturalGradient

"""The supervised plugin as the rest of the suite sees it."""

from ndm_apps.plugins.base import Column, Plugin
from ndm_apps.plugins.supervised.schema import (
    CompatibleNDMSettings,
    DropoutSettings,
    MLPSettings,
    NaturalNDMSettings,
    NDMSettings,
    PlainNDMSettings,
    SpectralNormSettings,
    SupervisedTask,
    WeightDecaySettings,
)

PLUGIN = Plugin(
    domain="supervised",
    summary="classifies after training on few samples, and measures generalisation, robustness and calibration",
    task=SupervisedTask,
    methods={
        "ndm": NDMSettings,
        "ndm_plain": PlainNDMSettings,
        "ndm_compatible": CompatibleNDMSettings,
        "ndm_natural": NaturalNDMSettings,
        "mlp": MLPSettings,
        "mlp_weight_decay": WeightDecaySettings,
        "mlp_dropout": DropoutSettings,
        "mlp_spectral_norm": SpectralNormSettings,
    },
    entry="ndm_apps.plugins.supervised.run:run",
    inspect="ndm_apps.plugins.supervised.inspect:inspect",
    validation=True,
    parallel=True,
    columns=(
        Column("final_accuracy", "accuracy", ".4f", "higher"),
        Column("gap", "gap", ".4f", "lower"),
        Column("noise_accuracy", "noise", ".3f", "higher"),
        Column("fgsm_accuracy", "FGSM", ".3f", "higher"),
        Column("pgd_accuracy", "PGD", ".3f", "higher"),
        Column("corruption_accuracy", "corruptions", ".3f", "higher"),
        Column("ece", "ECE", ".3f", "lower"),
        Column("nll", "NLL", ".3f", "lower"),
        Column("brier", "Brier", ".3f", "lower"),
        Column("squared_curvature", "mean R²", ".2g"),
        Column("parameters", "parameters", ".0f"),
        Column("steps_to_loss", "steps to loss", ".0f", "lower"),
        Column("seconds_to_loss", "seconds to loss", ".2f", "lower"),
        Column("train_seconds", "training seconds", ".2f", "lower"),
    ),
)

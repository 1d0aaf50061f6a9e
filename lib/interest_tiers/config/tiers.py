"""How interests are split into tiers, and how the network of tiers is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from interest_tiers.config.section import Section
from interest_tiers.config.training import CHECKPOINT_STEPS, LEARNING_RATE, MAX_EPOCH_STEPS, Training

#: How much an interest matters to a user, most first.
TIERS = ("core", "secondary", "marginal")

#: What predicts a tier: a network of that kind, or the calibrated rule alone.
Network = Literal["rule", "mlp", "lstm", "transformer", "bert"]


class LabelRule(Section):
    """Expert knowledge that overrides labels. Of several rules that match, the first one counts."""

    sql: str = Field(description="SQL condition on the columns of `user_interests` at the cutoff.")
    tier: Literal["core", "secondary", "marginal"] = Field(description="Label where the condition holds.")
    add: bool = Field(False, description="Whether users without evidence in the horizon get the label too; otherwise they have none.")


class TierTraining(Training):
    """How the network of tiers is trained. An example is a user and an interest at a past cutoff.

    With `bert`, keep `batch_size` at 128 or less: 2,048 texts of 64 tokens do not fit 24 GiB.
    """

    epochs: int = Field(3, ge=1, le=10_000, description="Largest number of epochs.")
    max_epoch_steps: int = Field(10_000, ge=1, description=MAX_EPOCH_STEPS)
    patience: int = Field(3, ge=1, description="Training stops after so many epochs without a lower J on held-out users.")
    batch_size: int = Field(
        2048, ge=2, le=10_000_000, description="Examples in a batch over all processes, at most; a multiple of `num_processes`."
    )
    min_epoch_steps: int = Field(
        64, ge=1, description="With few examples, batches shrink to no less than 8 and repeat, so that an epoch has so many steps."
    )
    learning_rate: float = Field(1e-3, gt=0, lt=1, description=LEARNING_RATE)
    prior_examples: float = Field(
        0,
        ge=0,
        description="Extra weight decay of `prior_examples / n_examples`, a prior around 0. For few examples; not for `bert`.",
    )
    checkpoint_steps: int = Field(1000, ge=1, description=CHECKPOINT_STEPS)
    folder: str | None = Field(
        None, description="Folder of the models, on a path that every machine shares. Default: `models/tiers` in a warehouse folder."
    )
    cuts: int = Field(
        3, ge=1, le=100, description="Number of past cutoffs that give examples. The latest is a horizon before the model's day."
    )
    days_between_cuts: int = Field(28, ge=1, description="Days between these cutoffs.")
    max_examples: int = Field(1_000_000, ge=1000, description="Approximate limit of the examples. Of more, some users are sampled by hash.")
    every_days: int = Field(7, ge=1, le=3650, description="Days that a model serves.")
    loss: Literal["brier", "cross_entropy", "ordered"] = Field(
        "brier", description="`brier` is J. `ordered` makes a mistake by two tiers cost more than a mistake by one."
    )
    tier_weights: dict[Literal["core", "secondary", "marginal"], Annotated[float, Field(gt=0, le=1000)]] = Field(
        default_factory=dict, description="Weight of each tier in the loss. Default: 1 each."
    )
    members: int = Field(2, ge=1, le=64, description="Stacks of dense layers, trained on the same rows; their probabilities are averaged.")
    width: int = Field(128, ge=4, le=8192, description="Width of a member's dense layers.")
    layers: int = Field(3, ge=1, le=50, description="Number of a member's dense layers.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout of the dense layers.")
    sequence_length: int = Field(
        64,
        ge=1,
        le=1024,
        description="`lstm`, `transformer`: newest event days of the interest and of similar ones that the network reads.",
    )
    max_tokens: int = Field(64, ge=8, le=512, description="`bert`: tokens of the texts of the newest items in the interest.")
    max_tuning_users: int = Field(
        20_000, ge=10, description="Held-out users, sampled by hash, that choose the epoch, the calibration and the decision rule."
    )
    min_days: int = Field(1, ge=1, description="Users with events on fewer days get the tier of the rule.")


class TierDrift(Section):
    """Limits of drift. Where the tiers of a day differ more from those of the latest earlier day, the model should be retrained."""

    max_population_stability_index: float = Field(
        0.25, gt=0, description="Largest population stability index of the tiers' shares and of the deciles of p_core."
    )
    max_core_changed_share: float = Field(
        0.5, gt=0, le=1, description="Largest share of users, present on both days, whose core interests differ."
    )


class Tiers(Section):
    """How interests are split into core, secondary and marginal.

    Attributes of users carry no date. One that was recorded after a cutoff would leak the future into training and back-test.
    A dated source would have a row per user, attribute and day from which the value holds. Features would read the value that
    held at the cutoff. Until there is one, name only attributes that never change, or that were known at every cutoff.
    """

    core_mass: float = Field(0.5, gt=0, lt=1, description="Share of a user's evidence that the core interests hold.")
    secondary_mass: float = Field(0.8, gt=0, lt=1, description="Share that core and secondary interests hold together.")
    horizon_days: int = Field(91, ge=1, description="How far ahead a tier looks, and the length of the back-test.")
    network: Network = Field(
        "mlp",
        description="`mlp` reads features; `lstm`, `transformer` also event days; `bert` also texts, for small data. `rule`: no network.",
    )
    attributes: list[str] = Field(
        default_factory=list,
        description="Attributes of users (columns of their source) that become features. They are undated: see the notes above.",
    )
    label_rules: list[LabelRule] = Field(default_factory=list, description="Expert rules that override labels.")
    training: TierTraining = Field(TierTraining(), description="How the network is trained.")
    drift: TierDrift = Field(TierDrift(), description="When the model should be retrained.")
    parents_follow: bool = Field(True, description="In a hierarchy, raise an interest to the best tier of the finer interests within it.")
    min_days: int = Field(3, ge=1, description="Users with events on fewer days are marked in `user_tiers` (`low_evidence`).")

    @model_validator(mode="after")
    def _masses_ascend(self) -> Tiers:
        if self.core_mass >= self.secondary_mass:
            raise ValueError(f"core_mass ({self.core_mass}) must be below secondary_mass ({self.secondary_mass})")
        return self

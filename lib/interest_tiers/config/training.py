"""How a network is trained: what every training has, and the fine-tuning of the language model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from interest_tiers.config.section import Section

#: Texts of the keys that trainings share; a subclass that changes a default repeats the key.
MAX_EPOCH_STEPS = "An epoch ends after so many steps, or when every example was seen."
LEARNING_RATE = "Peak learning rate of AdamW. It rises linearly during `warmup`, then falls linearly to 0."
CHECKPOINT_STEPS = "Steps between checkpoints. The end of an epoch writes one too."


class Training(Section):
    """How a network is trained, whatever it learns."""

    epochs: int = Field(5, ge=1, le=10_000, description="Largest number of epochs.")
    max_epoch_steps: int = Field(200, ge=1, description=MAX_EPOCH_STEPS)
    min_epoch_steps: int = Field(1, ge=1, description="With few examples, an epoch repeats them until it has so many steps.")
    patience: int = Field(2, ge=1, description="Training stops after so many epochs without a lower validation loss.")
    batch_size: int = Field(64, ge=2, le=1_000_000, description="Examples in a batch over all processes; a multiple of `num_processes`.")
    learning_rate: float = Field(5e-5, gt=0, lt=1, description=LEARNING_RATE)
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of all steps in which the learning rate rises.")
    weight_decay: float = Field(0.01, ge=0, lt=1, description="Weight decay of AdamW.")
    prior_examples: float = Field(
        0, ge=0, description="Extra weight decay of `prior_examples / n_examples`: a Gaussian prior around 0 that fades with more examples."
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="Precision of activations. Weights and their updates are fp32.")
    num_processes: int = Field(1, ge=1, le=4096, description="Processes that train together by TorchDistributor.")
    checkpoint_steps: int = Field(100, ge=1, description=CHECKPOINT_STEPS)
    seed: int = Field(17, ge=0, lt=2**31, description="Seed of initial weights, samples and orders.")
    mlflow_experiment: str | None = Field(
        None, min_length=1, description="MLflow experiment that the training is logged to; needs `mlflow`. Default: no logging."
    )

    @model_validator(mode="after")
    def _processes_share_the_batch(self) -> Self:
        if self.batch_size % self.num_processes:
            raise ValueError(f"batch_size ({self.batch_size}) must be a multiple of num_processes ({self.num_processes})")
        return self


class GptNetwork(Section):
    """The size of a GPT-2 that is trained from scratch."""

    layers: int = Field(4, ge=1, le=96, description="Transformer blocks.")
    heads: int = Field(4, ge=1, le=128, description="Attention heads of a block.")
    width: int = Field(192, ge=8, le=16384, description="Length of a hidden vector; a multiple of `heads`.")
    positions: int = Field(128, ge=8, le=8192, description="Tokens of the longest text.")
    vocabulary: int = Field(
        8000, ge=257, le=500_000, description="Largest number of tokens: one per byte, the end of a text, and frequent pieces."
    )

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> GptNetwork:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self


class FineTuning(Training):
    """How the language model is trained on behaviour data.

    An example is a pair of item texts (`contrastive`), or a block of `embedding.max_tokens` tokens (`next_token`).
    A basket holds the texts that one user touches together.
    """

    objective: Literal["contrastive", "next_token"] = Field(
        "contrastive",
        description="`contrastive` pulls texts of a basket together. `next_token` is causal language modelling, for the GPT family.",
    )
    base: Literal["model", "scratch"] = Field(
        "model", description="`model` trains `embedding.model` further. `scratch` starts a GPT-2 with random weights; `next_token` only."
    )
    network: GptNetwork = Field(GptNetwork(), description="Size of the GPT-2 of `base: scratch`.")
    folder: str | None = Field(
        None,
        description="Folder of the model, on a path that every machine shares. Default: `models/NAME-OBJECTIVE` in a warehouse folder.",
    )
    window_hours: int = Field(
        0,
        ge=0,
        le=8760,
        description="`contrastive`: hours that a basket covers, counted from 1970 in UTC; 24 is a day, 0 a single moment.",
    )
    partners: int = Field(2, ge=1, le=20, description="`contrastive`: texts of its basket that a text is paired with.")
    max_basket_texts: int = Field(100, ge=2, le=10_000, description="Largest number of texts of a basket, sampled by hash.")
    max_user_examples: int = Field(200, ge=1, le=1_000_000, description="Largest number of examples of a user, sampled by hash.")
    max_examples: int = Field(1_000_000, ge=2, description="Approximate limit of training examples, sampled by hash.")
    max_validation_examples: int = Field(2048, ge=2, le=1_000_000, description="Approximate limit of validation examples, sampled by hash.")
    validation_days: int = Field(14, ge=1, description="Days before the cutoff that choose the best epoch and are not trained on.")
    dropout: bool = Field(False, description="Whether the network's own dropout is on. Results then depend on the number of processes.")
    temperature: float = Field(0.05, gt=0, le=10, description="`contrastive`: divisor of cosines.")
    frequency_correction: float = Field(
        0.0, ge=0, le=1, description="`contrastive`: logQ correction for frequent in-batch negatives; 0 is none, 1 is full."
    )
    max_queries: int = Field(5000, ge=1, le=100_000, description="Texts, sampled by hash, on which the trained model is evaluated.")
    max_candidates: int = Field(
        200_000, ge=100, le=5_000_000, description="Texts, sampled by hash, among which a query's basket is sought."
    )

    @model_validator(mode="after")
    def _scratch_is_a_language_model(self) -> FineTuning:
        if self.base == "scratch" and self.objective != "next_token":
            raise ValueError(
                "base is 'scratch', which needs objective next_token: a network with random weights has no embeddings to compare"
            )
        return self

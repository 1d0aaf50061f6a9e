"""The whole configuration of one data set, and the rules that join its sections."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pydantic import Field, field_validator, model_validator

from interest_tiers.config.cleaning import Noise, Quality, ValueRange
from interest_tiers.config.embedding import Embedding
from interest_tiers.config.locations import resolve_path
from interest_tiers.config.method import Augmentation, Clustering, Evaluation, Interests, Recommend
from interest_tiers.config.section import Section, suggest
from interest_tiers.config.sources import RESERVED_SOURCE_NAMES, BehaviourWeight, InteractionSource, ItemSource, UserSource
from interest_tiers.config.tiers import Tiers
from interest_tiers.config.training import FineTuning


class Config(Section):
    """What a run needs to know about one data set."""

    name: str = Field(pattern=r"^[A-Za-z0-9_\-]+$", description="Name of the data set: letters, digits, `_` and `-`.")
    locations: dict[str, str] = Field(
        default_factory=dict,
        description="Folder of each data location, or `package:NAME/folder` in an installed Python package. `completejourney` is known.",
    )
    interactions: list[InteractionSource] = Field(min_length=1, description="One source, or a list of sources.")
    items: ItemSource = Field(description="The item catalogue.")
    users: UserSource | None = Field(None, description="Attributes of users. Default: no source of users.")
    behaviours: dict[str, BehaviourWeight | None] = Field(min_length=1, description="Weight of each behaviour, or `quarantine`.")
    values: dict[str, ValueRange] = Field(default_factory=dict, description="Plausible values of each behaviour.")
    noise: Noise = Field(Noise(), description="Events that carry no evidence.")
    quality: Quality = Field(Quality(), description="Limits of the quality gate.")
    retention_days: int | None = Field(
        None, ge=1, description="Days of past as_of that derived tables keep; rows of earlier days are removed. Default: all are kept."
    )
    augmentation: Augmentation | None = Field(
        None, description="Users with little history borrow evidence. Default: off; `{}` turns it on with its defaults."
    )
    embedding: Embedding = Field(Embedding(), description="The language model.")
    fine_tuning: FineTuning = Field(FineTuning(), description="How the language model is fine-tuned.")
    interests: Interests = Field(Interests(), description="What an interest is.")
    tiers: Tiers = Field(Tiers(), description="How interests are split into tiers.")
    clustering: Clustering = Field(Clustering(), description="How users are grouped.")
    recommend: Recommend = Field(Recommend(), description="What is recommended.")
    evaluation: Evaluation = Field(Evaluation(), description="How the back-test judges.")

    @field_validator("interactions", mode="before")
    @classmethod
    def _one_source_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, dict) else given

    @field_validator("interactions")
    @classmethod
    def _names_differ(cls, sources: list[InteractionSource]) -> list[InteractionSource]:
        names = _source_names(sources)
        reserved = next((name for name in names if name in RESERVED_SOURCE_NAMES), None)
        if reserved is not None:
            raise ValueError(f"the source name {reserved!r} is reserved; give the source another name")
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"two sources have the name {repeated!r}; give one another name")
        return sources

    @field_validator("behaviours", mode="before")
    @classmethod
    def _plain_number_is_a_weight(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {behaviour: _weight_of(behaviour, weight) for behaviour, weight in given.items()}

    @model_validator(mode="after")
    def _literal_behaviours_have_a_weight(self) -> Config:
        for position, source in enumerate(self.interactions):
            literal = source.columns.behaviour.literal
            if literal is not None and literal not in self.behaviours:
                key = "interactions" if len(self.interactions) == 1 else f"interactions.{position}"
                raise ValueError(
                    f"{key}.columns.behaviour.literal is {literal!r}, which behaviours does not name "
                    f"(it names {', '.join(map(repr, self.behaviours))}){suggest(literal, self.behaviours)}"
                )
        return self

    @model_validator(mode="after")
    def _values_are_of_behaviours(self) -> Config:
        for behaviour in self.values:
            if behaviour not in self.weights:
                raise ValueError(
                    f"values.{behaviour}: no behaviour of that name has a weight "
                    f"({', '.join(map(repr, self.weights))} have one){suggest(behaviour, self.weights)}"
                )
        return self

    @model_validator(mode="after")
    def _some_behaviour_is_evidence(self) -> Config:
        if not any(weight.weight > 0 for weight in self.weights.values()):
            raise ValueError("behaviours: no behaviour has a weight above 0")
        return self

    @model_validator(mode="after")
    def _categories_exist_where_they_are_interests(self) -> Config:
        if self.interests.source == "category" and self.items.columns.category is None:
            raise ValueError(
                "items.columns.category is missing; an interest is a category here (interests.source: category). "
                "Where items have texts and no categories, set interests.source to topic"
            )
        return self

    @model_validator(mode="after")
    def _texts_exist_where_they_are_needed(self) -> Config:
        if not self.items.columns.text and self.interests.source == "topic":
            raise ValueError(
                "items.columns.text is missing; interests are topics of texts here (interests.source: topic). "
                "Where items have categories and no texts, set interests.source to category"
            )
        return self

    @model_validator(mode="after")
    def _attributes_have_a_source(self) -> Config:
        if self.tiers.attributes and self.users is None:
            named = ", ".join(self.tiers.attributes)
            raise ValueError(f"tiers.attributes names {named}, but there is no source of users; set users, or remove the attributes")
        chosen = None if self.users is None else self.users.columns.attributes
        lacking = [] if chosen is None else [name for name in self.tiers.attributes if name not in chosen]
        if lacking:
            raise ValueError(f"tiers.attributes names {', '.join(lacking)}, which users.columns.attributes does not; add it there")
        return self

    @property
    def weights(self) -> dict[str, BehaviourWeight]:
        """Return the behaviours that count, with their weights."""
        return {behaviour: weight for behaviour, weight in self.behaviours.items() if weight is not None}

    @property
    def horizon_days(self) -> int:
        """Return how far ahead a tier looks; features, labels and the back-test share it. Its key is tiers.horizon_days."""
        return self.tiers.horizon_days

    @property
    def levels_that_follow(self) -> int:
        """Count the levels among which parents follow their children; 0 without a hierarchy, or where parents do not follow."""
        return len(self.interests.levels) if self.tiers.parents_follow else 0

    @property
    def named_sources(self) -> dict[str, InteractionSource]:
        """Return the sources of interactions by their names in data_quality and the quarantine."""
        return dict(zip(_source_names(self.interactions), self.interactions, strict=True))

    @property
    def sha256(self) -> str:
        """Compute a fingerprint of every value, defaults included. The order of keys in the file does not matter."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def resolve(self, path: str) -> str:
        """Replace the named data locations in a path; see locations.resolve_path."""
        return resolve_path(path, self.locations)


def _source_names(sources: Sequence[InteractionSource]) -> list[str]:
    keys = ["interactions"] if len(sources) == 1 else [f"interactions.{position}" for position in range(len(sources))]
    return [key if source.name is None else source.name for key, source in zip(keys, sources, strict=True)]


def _weight_of(behaviour: str, given: Any) -> Any:
    if given == "quarantine":
        return None
    if isinstance(given, int | float) and not isinstance(given, bool):
        return {"weight": given}
    if not isinstance(given, dict | BehaviourWeight):
        raise ValueError(f"the weight of {behaviour!r} is {given!r}; expected a number, quarantine, or {{weight: 1.0, value: …}}")
    return given

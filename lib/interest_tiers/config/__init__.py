"""The configuration of one data set: typed, frozen, validated at load.

Every message names the file, the key, the value found and what is allowed. Values given by
``--set a.b=value`` pass the same validation as values in the file. docs/configuration.md is generated from these models.
"""

from interest_tiers.config.cleaning import Bots, Noise, Quality, ValueRange
from interest_tiers.config.embedding import PRECISIONS, Backend, Embedding, Precision
from interest_tiers.config.load import load_config
from interest_tiers.config.locations import PACKAGED_LOCATIONS
from interest_tiers.config.method import (
    LANGUAGES,
    SPARK_LANGUAGES,
    Augmentation,
    Clustering,
    Evaluation,
    Interests,
    Recommend,
    UserTexts,
)
from interest_tiers.config.root import Config
from interest_tiers.config.section import Section
from interest_tiers.config.shapes import ColumnRef, Explode, Files, Join, Source, SqlColumn, Unpivot
from interest_tiers.config.sources import (
    ALL_SOURCES,
    ITEMS_SOURCE,
    RESERVED_SOURCE_NAMES,
    UNREADABLE,
    USERS_SOURCE,
    Behaviour,
    BehaviourWeight,
    InteractionColumns,
    InteractionSource,
    ItemColumns,
    ItemSource,
    OccurredAt,
    UserColumns,
    UserSource,
    ValueScale,
)
from interest_tiers.config.tiers import TIERS, LabelRule, Network, TierDrift, Tiers, TierTraining
from interest_tiers.config.training import FineTuning, GptNetwork, Training

__all__ = [
    "ALL_SOURCES", "ITEMS_SOURCE", "LANGUAGES", "PACKAGED_LOCATIONS", "PRECISIONS", "RESERVED_SOURCE_NAMES", "SPARK_LANGUAGES", "TIERS",
    "UNREADABLE", "USERS_SOURCE", "Augmentation", "Backend", "Behaviour", "BehaviourWeight", "Bots", "Clustering", "ColumnRef", "Config",
    "Embedding", "Evaluation", "Explode", "Files", "FineTuning", "GptNetwork", "InteractionColumns", "InteractionSource", "Interests",
    "ItemColumns", "ItemSource", "Join", "LabelRule", "Network", "Noise", "OccurredAt", "Precision", "Quality", "Recommend", "Section",
    "Source", "SqlColumn", "TierDrift", "TierTraining", "Tiers", "Training", "Unpivot", "UserColumns", "UserSource", "UserTexts",
    "ValueRange", "ValueScale", "load_config",
]  # fmt: skip

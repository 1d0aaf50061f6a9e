"""What an interest is, and how users are grouped, served and evaluated. Tiers are in tiers.py."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from interest_tiers.config.section import Section, suggest

#: Languages for which Spark ML has stop words, and those for which there are some.
SPARK_LANGUAGES = (
    "danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian", "norwegian", "portuguese", "russian", "spanish",
    "swedish", "turkish",
)  # fmt: skip
LANGUAGES = ("chinese", *SPARK_LANGUAGES)


class UserTexts(Section):
    """What users write, as evidence of the interest whose embedding is nearest to the text."""

    weight: float = Field(0.5, gt=0, le=1000, description="Weight of a day on which the user wrote about the interest.")
    min_similarity: float = Field(0.4, ge=-1, le=1, description="Cosine below which a text is no evidence of any interest.")


class Interests(Section):
    """What an interest is, and how evidence of it decays.

    `category`: an item category. `topic`: a cluster of item texts, for catalogues without categories.
    A list of columns of the items' source, coarse to fine, is a hierarchy. Every level has interests and tiers of its own.

    Languages with stop words: chinese, danish, dutch, english, finnish, french, german, hungarian, italian, norwegian,
    portuguese, russian, spanish, swedish, turkish.
    """

    source: Literal["category", "topic"] | list[str] = Field(
        "category", description="`category`, `topic`, or a list such as `[department, product_category]`."
    )
    half_life_days: float = Field(90, gt=0, description="Days in which evidence halves.")
    topics: int = Field(50, ge=2, le=2000, description="`topic`: number of topics. Fewer result where fewer texts differ.")
    max_fit_texts: int = Field(
        200_000, ge=1000, description="`topic`: approximate number of distinct texts, sampled by hash, that the clustering is fitted on."
    )
    seed: int = Field(17, description="`topic`: seed of the clustering.")
    user_texts: UserTexts | None = Field(
        None, description="Use what users write as evidence. Default: off; `{}` turns it on with its defaults."
    )
    languages: list[str] = Field(
        default_factory=lambda: ["english"],
        description="Languages of the texts, one or a list. Their stop words name no interest; `[]` keeps all words.",
    )

    @field_validator("source", mode="before")
    @classmethod
    def _levels_are_a_hierarchy(cls, given: Any) -> Any:
        if not isinstance(given, list):
            if given not in ("category", "topic"):
                raise ValueError("expected category, topic, or a list of columns of the items' source, coarse to fine")
            return given
        if not all(isinstance(column, str) and column for column in given):
            raise ValueError("every level is the name of a column of the items' source")
        if len(given) < 2:
            raise ValueError("a hierarchy has two levels or more; for one, name it in items.columns.category and write category here")
        repeated = next((column for column in given if given.count(column) > 1), None)
        if repeated is not None:
            raise ValueError(f"two levels are {repeated!r}")
        # Metrics name a slice as level=NAME,model=….
        unusable = next((column for column in given if "," in column or "=" in column), None)
        if unusable is not None:
            raise ValueError(f"{unusable!r}: a level's column may have no comma and no equals sign; rename it in the source")
        return given

    @property
    def levels(self) -> tuple[str, ...]:
        """Return the columns of the hierarchy, coarse to fine; empty for a flat catalogue."""
        return tuple(self.source) if isinstance(self.source, list) else ()

    @property
    def n_levels(self) -> int:
        """Count the levels of the catalogue; a flat one has 1."""
        return max(1, len(self.levels))

    @field_validator("languages", mode="before")
    @classmethod
    def _one_language_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @field_validator("languages")
    @classmethod
    def _languages_have_stop_words(cls, languages: list[str]) -> list[str]:
        for language in languages:
            if language not in LANGUAGES:
                known = ", ".join(LANGUAGES)
                raise ValueError(f"there are no stop words for {language!r}{suggest(language, LANGUAGES)}; there are some for {known}")
        return sorted(set(languages))


class Augmentation(Section):
    """Evidence that users with little history borrow from similar users. Borrowed evidence is never a label."""

    min_days: int = Field(3, ge=1, description="Users with evidence on fewer days borrow; all others lend.")
    neighbours: int = Field(10, ge=1, le=100, description="Users that one user borrows from.")
    weight: float = Field(0.3, gt=0, le=1, description="Borrowed evidence relative to the user's own.")
    max_interests: int = Field(
        10, ge=1, le=200, description="Interests that a user may borrow, and strongest own interests that similar users are found by."
    )


Block = Literal["interests", "items", "text"]
_BLOCKS: list[Block] = ["interests", "items", "text"]


class Clustering(Section):
    """How users are grouped.

    A model holds the space of the vectors and the clusters. It is fitted once and then gives users their clusters day by day,
    until `refit_days` are over or the users have drifted from it.
    """

    algorithm: Literal["kmeans"] = Field("kmeans", description="Algorithm of the clustering.")
    vectors: list[Block] = Field(
        default_factory=lambda: _BLOCKS[:2],
        min_length=1,
        description="Blocks of user vectors: shares of evidence, items that the same users have, texts of items. "
        "A block without data is left out.",
    )
    k: list[int] = Field(
        default_factory=lambda: [6, 8, 10, 12],
        min_length=1,
        description="Numbers of clusters to try, 2 to 1000 each. Agreement of halves plus excess silhouette decides.",
    )
    distance: Literal["cosine"] = Field("cosine", description="Distance between user vectors.")
    components: int = Field(8, ge=2, le=256, description="Directions of each block, and length of a user vector.")
    min_item_users: int = Field(5, ge=1, description="`items`: users of an item, at least.")
    min_share: float = Field(0.02, ge=0, lt=1, description="Share of users in the smallest cluster, at least, where some k allows it.")
    max_memberships: int = Field(3, ge=1, le=10, description="Largest number of clusters of one user.")
    min_membership: float = Field(0.15, ge=0, lt=1, description="Smallest membership in a further cluster.")
    starts: int = Field(20, ge=1, le=200, description="Fits for each k; the one with the smallest sum of distances counts.")
    max_fit_users: int = Field(
        50_000, ge=1000, le=200_000, description="Approximate number of users, sampled by hash, that every k is tried on."
    )
    stay_within: float = Field(0.1, ge=0, le=2, description="A user stays in a cluster unless another is nearer by more than this.")
    refit_days: int = Field(28, ge=1, description="Days that a model serves.")
    max_population_stability_index: float = Field(
        0.1, gt=0, description="Drift of the sizes of clusters above which the model is refitted."
    )
    max_distance_growth: float = Field(
        0.05, gt=0, description="Growth of the mean distance to the centroids above which the model is refitted."
    )
    seed: int = Field(17, description="Seed of the fits.")

    @field_validator("k", mode="before")
    @classmethod
    def _one_k_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, int) else given

    @field_validator("k")
    @classmethod
    def _every_k_is_possible(cls, ks: list[int]) -> list[int]:
        if any(not 2 <= k <= 1000 for k in ks):
            raise ValueError("every k must lie between 2 and 1000")
        return sorted(set(ks))

    @field_validator("vectors")
    @classmethod
    def _blocks_differ(cls, blocks: list[Block]) -> list[Block]:
        return list(dict.fromkeys(blocks))


class RankerTraining(Section):
    """How the ranker of recommendations is trained."""

    min_users: int = Field(
        700, ge=2, description="With fewer users to learn from, a sum of evidence, co-use and popularity ranks in place of a model."
    )
    max_users: int = Field(5_000, ge=100, le=20_000, description="Users that one cutoff learns from, sampled by hash.")
    every_days: int = Field(7, ge=1, le=366, description="A ranker serves so many days.")
    folder: str | None = Field(
        None,
        min_length=1,
        description="Folder of trained rankers, on the driver. Default: next to `tiers.training.folder`, or in the warehouse.",
    )
    threads: int = Field(2, ge=1, le=256, description="Threads of the driver that fit the model.")
    seed: int = Field(17, ge=0, lt=2**31, description="Seed of the samples of rows and features.")


class Recommend(Section):
    """How many recommendations a user gets, and from which candidates."""

    k: int = Field(10, ge=1, le=1000, description="Recommendations per user.")
    repeats: bool = Field(True, description="Whether items that the user already had may be recommended.")
    max_items: int = Field(
        20_000, ge=10, le=200_000, description="Items that may be recommended to users who have not had them: the most used ones lately."
    )
    max_equal_texts: int | None = Field(
        None, ge=1, description="Items with the same text in one list, at most. Default: no limit, since variants of a product share texts."
    )
    diversity: float = Field(
        0.0, ge=0, le=1, description="How much less an item counts whose text equals that of an item above it in the list."
    )
    exploration: float = Field(
        0.0, ge=0, le=1, description="How far lists reach into the catalogue: scores are divided by (1 + users of the item) to this power."
    )
    calibration: float = Field(
        0.1, ge=0, le=1, description="Weight of the user's tiers against scores: the tiers in a list follow those of what the user does."
    )
    training: RankerTraining = Field(default_factory=RankerTraining, description="How the ranker is trained.")


class Evaluation(Section):
    """How the back-test judges recommendations."""

    min_item_users: int = Field(1, ge=1, description="Items with fewer users before the cutoff are left out of lists and ground truth.")
    max_users: int = Field(100_000, ge=1, description="Users whose lists are judged, sampled by hash; metrics report their number.")
    bootstrap_samples: int = Field(1000, ge=100, le=100_000, description="Samples of the bootstrap intervals.")

"""What a table declaration holds, and the Delta properties that follow from it. The declarations are in schemas.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyspark.sql.types import DataType, DateType, DoubleType, LongType, StructField, StructType, TimestampType

#: Delta's table properties that this project reads or sets.
DATA_RETENTION, LOG_RETENTION, STATISTICS = (
    "delta.deletedFileRetentionDuration", "delta.logRetentionDuration", "delta.dataSkippingStatsColumns"
)  # fmt: skip


def required_column(name: str, kind: DataType, comment: str) -> StructField:
    """Declare a column that is never null."""
    return StructField(name, kind, nullable=False, metadata={"comment": comment})


def optional_column(name: str, kind: DataType, comment: str) -> StructField:
    """Declare a column that may be null."""
    return StructField(name, kind, nullable=True, metadata={"comment": comment})


@dataclass(frozen=True)
class NamesUsers:
    """A text column that may contain user ids, in the rows that satisfy the SQL of ``within``.

    Forgetting a user sets a nullable text to null. A row whose text is required is deleted.
    """

    column: str
    within: str = "true"


@dataclass(frozen=True)
class Table:
    """A table of the contract: its columns, its key, its partition and the rows that Delta refuses.

    stage: the stage that writes the table.
    added: columns that tables of earlier versions lack; they read as null.
    is_shared: several runs may write at once, because every write inserts missing keys or appends rows of its own run.
    """

    name: str
    description: str
    stage: str
    key: tuple[str, ...]
    schema: StructType
    partition_by: str | None = None
    constraints: Mapping[str, str] = field(default_factory=dict)
    names_users: NamesUsers | None = None
    added: tuple[str, ...] = ()
    is_shared: bool = False

    def added_since(self, found: StructType) -> list[StructField]:
        """Return the columns that a table with the columns found lacks because it is older."""
        return [column for column in self.schema.fields if column.name in self.added and column.name not in found.names]

    @property
    def has_as_of(self) -> bool:
        """Whether the table has a column as_of."""
        return "as_of" in self.schema.names

    @property
    def is_derived(self) -> bool:
        """Whether each as_of has rows of its own, which a stage replaces."""
        return "as_of" in self.key

    @property
    def has_users(self) -> bool:
        """Whether its rows belong to users."""
        return "user_id" in self.schema.names

    @property
    def properties(self) -> dict[str, str]:
        """The table properties that Delta keeps."""
        properties = {"delta.enableDeletionVectors": "false"}
        properties |= {f"delta.constraints.{name}": expression for name, expression in self.constraints.items()}
        if self.has_users or self.names_users is not None:
            properties[STATISTICS] = self._statistics
        return properties

    @property
    def _statistics(self) -> str:
        """List the columns whose minimum and maximum per file the log keeps.

        Texts are left out: the log would keep user ids after their rows are deleted, and no file is sorted by a text.
        """
        kinds = LongType | DoubleType | DateType | TimestampType
        return ",".join(f.name for f in self.schema.fields if isinstance(f.dataType, kinds) and f.name != self.partition_by)

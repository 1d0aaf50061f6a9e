"""What a stage declares of itself: plain data from which commands, plans, checks and docs follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from interest_tiers.storage.schemas import METRICS, RUNS, Table

if TYPE_CHECKING:
    from interest_tiers.stages.context import StageContext
    from interest_tiers.stages.results import StageResult


@dataclass(frozen=True)
class Option:
    """One option of a stage's command line, passed to its run by name.

    name: as in Python; the flag is --name with hyphens. kind: converts the text; None for a switch.
    in_pipeline: the command pipeline has it too. excludes: an option that cannot be given beside it.
    """

    name: str
    help: str
    kind: Callable[[str], Any] | None = None
    default: Any = None
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    in_pipeline: bool = False
    excludes: str | None = None

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def _no_preflight(context: StageContext, **options: Any) -> list[str]:
    return []


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline, or a command on a data set.

    reads:     tables that must have been made, by an earlier stage or an earlier run
    may_read:  tables that are read where they exist
    writes:    tables that it writes; RUNS needs no declaration
    sections:  sections of the config that decide on its rows
    run:       does the work; takes the context, and every option by name
    preflight: checks before any work what would stop the stage late; returns notes, raises an InterestTiersError
    follows:   stages whose files it uses, such as models; those whose tables it reads need no mention
    command:   a command of its own that the pipeline does not run
    has_config: whether it works on a data set, with a config and as_of
    """

    name: str
    summary: str
    run: Callable[..., StageResult]
    reads: tuple[Table, ...] = ()
    may_read: tuple[Table, ...] = ()
    writes: tuple[Table, ...] = ()
    sections: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    preflight: Callable[..., list[str]] = field(default=_no_preflight)
    follows: tuple[str, ...] = ()
    command: bool = False
    has_config: bool = True

    @property
    def claimed(self) -> tuple[Table, ...]:
        """The tables of which the stage must be the only writer; rows of metrics are those of one stage."""
        return tuple(table for table in self.writes if table not in (METRICS, RUNS))

    def may_access(self, table: Table, to_write: bool) -> bool:
        """Say whether the stage declared the table."""
        declared = self.writes if to_write else (*self.reads, *self.may_read, *self.writes)
        return table in declared or table is RUNS

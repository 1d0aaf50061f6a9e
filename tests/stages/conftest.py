"""The small shop, for plans and commands."""

from tests.jobs.conftest import shop

__all__ = ["shop"]

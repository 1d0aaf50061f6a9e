"""Interest tiers, user clusters and recommendations from interaction logs, on Apache Spark."""

__version__ = "0.1.0"

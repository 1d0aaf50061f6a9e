"""Tells a catalog's schema from a folder, by the text of --warehouse alone."""

from __future__ import annotations

import re

#: ``catalog.schema``: two names, which may hold hyphens. Everything else is a folder, ``./a.b`` too.
CATALOG_SCHEMA = re.compile(r"\w[\w-]*\.\w[\w-]*")


def is_catalog(location: str) -> bool:
    """Whether a location names a schema of a catalog rather than a folder."""
    return CATALOG_SCHEMA.fullmatch(location) is not None


def is_local_folder(location: str) -> bool:
    """Whether a location is a folder of this machine, as far as its text says."""
    return not is_catalog(location) and (location.startswith("file:") or "://" not in location)


def is_on_s3(location: str) -> bool:
    """Whether a location is a folder of S3, or of a store that speaks its protocol."""
    return location.startswith(("s3://", "s3a://"))

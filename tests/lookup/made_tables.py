"""A warehouse of a few rows, written without a JVM, as stages leave it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

FIRST, SECOND = date(2024, 3, 1), date(2024, 4, 1)

_TEXT, _LONG, _DOUBLE, _DAY, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.date32(), pa.bool_()
_VECTOR = pa.list_(pa.field("element", pa.float32()))

COLUMNS: dict[str, dict[str, pa.DataType]] = {
    "users": {"user_id": _TEXT, "attributes": pa.map_(_TEXT, _TEXT)},
    "items": {"item_id": _TEXT, "text": _TEXT},
    "interests": {"interest_id": _TEXT, "as_of": _DAY, "name": _TEXT, "level": _LONG, "parent_id": _TEXT},
    "user_interests": {
        "user_id": _TEXT, "interest_id": _TEXT, "as_of": _DAY, "share": _DOUBLE, "rank": _LONG, "n_days": _LONG, "recency_days": _LONG,
    },
    "user_tiers": {
        "user_id": _TEXT, "interest_id": _TEXT, "as_of": _DAY, "tier": _TEXT,
        "p_core": _DOUBLE, "p_secondary": _DOUBLE, "p_marginal": _DOUBLE, "low_evidence": _FLAG,
    },
    "user_vectors": {"user_id": _TEXT, "as_of": _DAY, "vector": _VECTOR},
    "clusters": {
        "cluster_id": _TEXT, "as_of": _DAY, "name": _TEXT, "size": _LONG, "silhouette": _DOUBLE,
        "top_interests": pa.list_(_TEXT), "model_version": _TEXT, "previous_size": _LONG, "top_items": pa.list_(_TEXT),
        "top_attributes": pa.list_(pa.struct({"name": _TEXT, "value": _TEXT, "share": _DOUBLE, "lift": _DOUBLE})),
    },
    "user_clusters": {
        "user_id": _TEXT, "cluster_id": _TEXT, "as_of": _DAY, "membership": _DOUBLE, "is_primary": _FLAG,
        "distance": _DOUBLE, "silhouette": _DOUBLE,
    },
    "recommendations": {
        "user_id": _TEXT, "as_of": _DAY, "rank": _LONG, "item_id": _TEXT, "score": _DOUBLE, "interest_id": _TEXT, "tier": _TEXT,
        "reason": _TEXT,
    },
}  # fmt: skip

#: ann and bob love tea; eve, whose id has a quote, loves jam. On the first day ann's tea was secondary.
ROWS: dict[str, list[Sequence[Any]]] = {
    "users": [("ann", {"age": "30", "town": "Ulm"}), ("bob", {}), ("e've", {}), ("new", {})],
    "items": [("i1", "green tea"), ("i2", None)],
    "interests": [(name, day, name.upper(), 1, None) for day in (FIRST, SECOND) for name in ("tea", "jam")],
    "user_interests": [
        ("ann", "tea", FIRST, 0.4, 2, 2, 3), ("ann", "jam", FIRST, 0.6, 1, 3, 1),
        ("ann", "tea", SECOND, 0.7, 1, 9, 2), ("ann", "jam", SECOND, 0.3, 2, 3, None),
        ("bob", "tea", SECOND, 1.0, 1, 4, 1), ("e've", "jam", SECOND, 1.0, 1, 1, 5),
    ],
    "user_tiers": [
        ("ann", "tea", FIRST, "secondary", 0.3, 0.5, 0.2, False), ("ann", "jam", FIRST, "core", 0.6, 0.3, 0.1, False),
        ("ann", "tea", SECOND, "core", 0.9, 0.08, 0.02, False), ("ann", "jam", SECOND, "marginal", 0.1, 0.2, 0.7, False),
        ("bob", "tea", SECOND, "core", 0.8, 0.1, 0.1, False), ("e've", "jam", SECOND, "core", 0.5, 0.3, 0.2, True),
    ],
    "user_vectors": [("ann", SECOND, [1.0, 0.0]), ("bob", SECOND, [0.6, 0.8]), ("e've", SECOND, [-1.0, 0.0])],
    "clusters": [
        ("c01", FIRST, "JAM", 1, None, ["JAM"], "v1", None, None, None),
        ("c01", SECOND, "TEA", 2, 0.5, ["TEA"], "v2", 1, ["green tea"], [{"name": "town", "value": "Ulm", "share": 0.6, "lift": 1.5}]),
        ("c02", SECOND, "JAM · BREAD", 1, 0.25, ["JAM", "BREAD"], "v2", None, [], []),
    ],
    "user_clusters": [
        ("ann", "c01", FIRST, 1.0, True, 0.1, None),
        ("ann", "c01", SECOND, 0.75, True, 0.125, 0.5), ("ann", "c02", SECOND, 0.25, False, 1.0, 0.5),
        ("bob", "c01", SECOND, 1.0, True, 0.0625, 0.5), ("e've", "c02", SECOND, 1.0, True, 0.5, 0.25),
    ],
    "recommendations": [
        ("ann", SECOND, 2, "i2", 0.5, "jam", "marginal", "JAM, an interest"),
        ("ann", SECOND, 1, "i1", 0.9, "tea", "core", "yours on 9 days"),
    ],
}  # fmt: skip


def write_tables(folder: Path) -> str:
    """Write the tables into a folder; returns it as a warehouse's location."""
    for name, rows in ROWS.items():
        schema = pa.schema(list(COLUMNS[name].items()))
        columns = [[row[place] for row in rows] for place in range(len(schema))]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
        partition = ["as_of"] if "as_of" in schema.names else None
        write_deltalake((folder / name).resolve().as_uri(), pa.Table.from_arrays(arrays, schema=schema), partition_by=partition)
    return str(folder)

"""The map of interests: who is on it, and labels that do not cover each other."""

from __future__ import annotations

from itertools import combinations

from pyspark.sql import SparkSession

from interest_tiers.report.interest_map import InterestPoint, map_interests
from interest_tiers.report.labels import HEIGHT, LETTER, LINE, WIDTH, place_labels

COLUMNS = "interest_id string, name string, n_users long, n_items long, top_terms array<string>, embedding array<float>"


def test_interests_with_embeddings_are_mapped_the_largest_first(spark: SparkSession) -> None:
    rows = [
        ("a", "TEA", 5, 2, ["green"], [1.0, 0.0, 0.0]),
        ("b", "COFFEE", 9, 3, ["bean"], [0.9, 0.1, 0.0]),
        ("c", "SOAP", 7, 1, ["bar"], [0.0, 0.0, 1.0]),
        ("d", "NOTHING", 99, 1, [], None),
    ]
    points = map_interests(spark.createDataFrame(rows, COLUMNS))
    assert [(point.name, point.n_users, point.terms) for point in points] == [
        ("COFFEE", 9, ("bean",)),
        ("SOAP", 7, ("bar",)),
        ("TEA", 5, ("green",)),
    ]
    at = {point.name: (point.x, point.y) for point in points}
    assert all(0 <= value <= 1 for place in at.values() for value in place)
    assert abs(at["TEA"][0] - at["COFFEE"][0]) < abs(at["TEA"][0] - at["SOAP"][0]), "similar texts are near each other"
    assert map_interests(spark.createDataFrame(rows[:2], COLUMNS)) == ()


def test_labels_stay_on_the_map_and_apart() -> None:
    points = [InterestPoint(f"INTEREST NUMBER {n}", (n * 37 % 100) / 100, (n * 61 % 100) / 100, 100 - n, 1, ()) for n in range(100)]
    placed = place_labels(points)
    boxes = [(p.at, p.y - LINE / 2, p.at + LETTER * len(p.label), p.y + LINE / 2) for p in placed if p.label]
    assert len(boxes) > 10 and placed[0].label == "Interest number 0"
    for left, right in combinations(boxes, 2):
        assert left[2] <= right[0] + 0.2 or right[2] <= left[0] + 0.2 or left[3] <= right[1] + 0.2 or right[3] <= left[1] + 0.2
    assert all(box[0] > -60 and box[2] <= WIDTH + 1 and 0 < box[1] < HEIGHT for box in boxes)

"""Writes a draft as YAML, with a comment at every guess."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from interest_tiers.config.method import Interests
from interest_tiers.getting_started.columns import Column
from interest_tiers.getting_started.draft import RETURN, Draft, Events
from interest_tiers.getting_started.file_samples import FileSample
from interest_tiers.getting_started.roles import Time, Value

#: What stands where no column fits; a person must change it.
CHANGE_ME = "CHANGE_ME"

#: Column at which comments start.
COMMENT_AT = 60

PLAIN = re.compile(r"[A-Za-z_][\w.\-]*( [\w.\-]+)*")
YAML_WORDS = frozenset(["true", "false", "null", "yes", "no", "on", "off", "y", "n"])

#: Small catalogues get fewer topics than the default.
ITEMS_PER_TOPIC = 10

#: A day for data without times.
NO_TIME = "2015-01-01"


def format_config(draft: Draft, name: str) -> str:
    """Lay out the YAML of a draft. name: of the data set."""
    folders = _name_folders([*(source.sample for source in draft.events), draft.item_sample, *([draft.users[0]] if draft.users else [])])
    rows = sum(source.sample.n_rows for source in draft.events)
    whole = "" if all(source.sample.is_whole for source in draft.events) else "the first "
    lines = [
        f"# First config of {name}, written by interest-tiers init from {whole}{rows:,} events. Comments say what was guessed.",
        "# Check those. interest-tiers plan shows what a run would do, interest-tiers run does it.",
        "# Every key: docs/configuration.md. Data of other shapes: docs/data.md.",
        f"name: {_quote(name)}",
        "locations:",
        *(f"  {alias}: {_quote(str(folder))}" for folder, alias in folders.items()),
        "interactions:",
    ]
    many = len(draft.events) > 1
    for source in draft.events:
        block = _format_events(source, folders, named=many)
        lines += _as_element(block) if many else block
    lines += _format_items(draft, folders)
    if draft.users is not None:
        sample, column = draft.users
        lines += ["users:", *_format_files(sample, folders), f"  columns: {{user_id: {_column(column)}}}"]
    lines += _format_behaviours(draft)
    lines += _format_method(draft)
    lines += [f"# {note}." for note in draft.notes]
    lines += [f"# Not used: {path} ({reason})." for path, reason in draft.left_out.items()]
    return "\n".join(lines) + "\n"


def _name_folders(samples: Sequence[FileSample]) -> dict[Path, str]:
    folders = list(dict.fromkeys(sample.paths[0].parent.resolve() for sample in samples))
    return {folder: "data" if place == 0 else f"data{place + 1}" for place, folder in enumerate(folders)}


def _format_events(source: Events, folders: dict[Path, str], named: bool) -> list[str]:
    sample = source.sample
    lines = [f"  name: {_quote(_stem(sample.paths[0]))}"] if named else []
    lines += [*_format_files(sample, folders), "  columns:"]
    user_note = f"{source.user.missing:.0%} of the rows have none" if source.user is not None and source.user.missing >= 0.01 else ""
    lines += [
        _line("    user_id", _column(source.user), _joined(user_note, _others(source, "user_id"))),
        _line("    item_id", _column(source.item), _others(source, "item_id")),
        _format_time(source.time, source.unread_time),
    ]
    if source.behaviour is not None:
        lines.append(_line("    behaviour", _column(source.behaviour), "weights of its values are below"))
    elif source.returns is not None:
        behaviour = f"IF(CAST({_sql(source.returns)} AS DOUBLE) < 0, '{RETURN}', '{source.literal}')"
        lines.append(_line("    behaviour", f"{{sql: {json.dumps(behaviour)}}}", "numbers below 0 look like returns"))
    else:
        lines.append(
            _line(
                "    behaviour",
                f"{{literal: {_quote(source.literal or 'event')}}}",
                "every row is one; a column or SQL can tell them apart",
            )
        )
    if source.value is not None:
        lines.append(
            _line("    value", _value(source.value), "a rating" if source.value.is_rating else "an amount; remove this line if it is none")
        )
    if source.text is not None:
        lines.append(_line("    text", _column(source.text), "what the user wrote"))
    return lines


def _format_time(time: Time | None, unread: Column | None) -> str:
    key = "    occurred_at"
    if time is None and unread is not None:
        return _line(key, f"{{column: {_quote(unread.name)}, format: {CHANGE_ME}}}", f"its form is unknown, as in {unread.texts[0]!r}")
    if time is None:
        return _line(key, f"{{literal: {NO_TIME}}}", "no column looks like a time: every event is of this day")
    shape, parts, notes = time.shape, [f"column: {_quote(time.column.name)}"], []
    formats = list(shape.formats)
    if time.of_day is not None:
        parts = [f"sql: {json.dumps(_concat(time))}"]
        hours = "H:mm:ss" if time.of_day.texts[0].count(":") == 2 else "H:mm"
        formats = [f"{'yyyy-MM-dd' if pattern == 'iso' else pattern} {hours}" for pattern in formats]
    if shape.unit is not None:
        parts.append(f"unit: {shape.unit}")
    elif formats not in ([], ["iso"]):
        parts.append(f"format: {json.dumps(formats[0] if len(formats) == 1 else formats)}")
    if shape.other_format is not None:
        notes.append(f"{shape.other_format} would fit as well")
    if shape.unit is None and not shape.has_zone:
        parts.append("timezone: UTC")
        notes.append("no zone in the data: name yours")
    if shape.first is not None:
        notes.append(f"{shape.first} to {shape.last}")
    return _line(key, f"{{{', '.join(parts)}}}", "; ".join(notes))


def _concat(time: Time) -> str:
    assert time.of_day is not None
    return f"concat({_sql(time.column)}, ' ', {_sql(time.of_day)})"


def _format_items(draft: Draft, folders: dict[Path, str]) -> list[str]:
    is_own = all(draft.item_sample is not source.sample for source in draft.events)
    lines = ["items:", *_format_files(draft.item_sample, folders), "  columns:"]
    lines.append(_line("    item_id", _column(draft.item), "" if is_own else "the events describe their items"))
    if draft.item_texts:
        texts = ", ".join(map(_column, draft.item_texts))
        lines.append(
            _line("    text", f"[{texts}]" if len(draft.item_texts) > 1 else texts, "what describes an item to the language model")
        )
    if draft.category is not None:
        many = [sign for sign in ("|", ";") if sum(sign in text for text in draft.category.texts) > 0.3 * len(draft.category.texts)]
        if many:
            first = f"split({_sql(draft.category)}, '[{many[0]}]')[0]"
            lines.append(_line("    category", f"{{sql: {json.dumps(first)}}}", "the first of several"))
        else:
            lines.append(
                _line("    category", _column(draft.category), f"{len(draft.category.distinct)} in the sample; each is an interest")
            )
    elif not draft.item_texts:
        note = f"nothing describes the items: give init their file too, or name a column of {', '.join(draft.item_sample.columns)}"
        lines.append(_line("    category", CHANGE_ME, note))
    return lines


def _format_behaviours(draft: Draft) -> list[str]:
    lines = ["behaviours:"]
    ratings = [source for source in draft.events if source.value is not None and source.value.is_rating]
    scales = {source.literal: source.value for source in ratings if source.literal is not None}
    for name, weight in draft.weights.items():
        value = scales.get(name)
        if value is not None:
            low, high = min(value.column.numbers), max(value.column.numbers)
            scaled = f"{{weight: {weight or 1.0}, value: {{low: {low:g}, high: {high:g}, weight_at_low: -0.25}}}}"
            lines.append(_line(f"  {_quote(name)}", scaled, "the best rating counts fully, the worst against"))
        else:
            note = "guess: unknown word" if weight is None else "guess" if len(draft.weights) > 1 else ""
            lines.append(_line(f"  {_quote(name)}", str(weight or 1.0), note))
    return lines


def _format_method(draft: Draft) -> list[str]:
    lines = []
    if draft.limits:
        limits = ", ".join(f"{key}: {value:g}" for key, value in draft.limits.items())
        lines.append(_line("quality", f"{{{limits}}}", "limits that fit this sample"))
    if draft.category is not None or not draft.item_texts:
        lines.append(_line("interests", "{source: category}", ""))
    else:
        n_topics = max(len(draft.item.distinct) // ITEMS_PER_TOPIC, 2) if draft.item is not None else 2
        is_small = draft.item_sample.is_whole and n_topics < Interests.model_fields["topics"].default
        topics = f", topics: {n_topics}" if is_small else ""
        lines.append(_line("interests", f"{{source: topic{topics}}}", "no category: topics are found in the texts"))
    lines.append(_line("tiers", f"{{horizon_days: {draft.horizon_days}}}", "how far ahead a tier looks; the data should span four of it"))
    return lines


def _format_files(sample: FileSample, folders: dict[Path, str]) -> list[str]:
    folder = sample.paths[0].parent.resolve()
    lines = [f"  path: {json.dumps(f'{{{folders[folder]}}}/{_glob(sample.paths)}')}"]
    if _needs_format(sample):
        lines.append(f"  format: {sample.format}")
    if sample.options:
        lines.append(f"  options: {{{', '.join(f'{key}: {json.dumps(value)}' for key, value in sample.options.items())}}}")
    if sample.skip_lines:
        lines.append(f"  skip_lines: {sample.skip_lines}")
    if sample.explode is not None:
        lines.append(f"  explode: {_quote(sample.explode)}")
    return lines


def _needs_format(sample: FileSample) -> bool:
    from interest_tiers.config.shapes import FORMATS
    from interest_tiers.getting_started.file_samples import ending

    return ending(sample.paths[0]) not in FORMATS


def _glob(paths: Sequence[Path]) -> str:
    """Name files of one folder: one by its name, several by a pattern that no other file there fits."""
    if len(paths) == 1:
        return paths[0].name
    names = sorted(path.name for path in paths)
    start = os.path.commonprefix(names)  # noqa: RUF071
    end = os.path.commonprefix([name[len(start) :][::-1] for name in names])[::-1]  # noqa: RUF071
    for pattern in (f"*{end}", f"{start}*{end}"):
        if sorted(path.name for path in paths[0].parent.glob(pattern)) == names:
            return pattern
    return f"{{{','.join(names)}}}"


def _as_element(lines: Sequence[str]) -> list[str]:
    return [f"  - {line[2:]}" if place == 0 else f"  {line}" for place, line in enumerate(lines)]


def _column(column: Column | None) -> str:
    if column is None:
        return CHANGE_ME
    # A dot would name a field of a struct.
    return f"{{sql: {json.dumps(_sql(column))}}}" if column.sample.format == "csv" and "." in column.name else _quote(column.name)


def _sql(column: Column) -> str:
    return "`" + column.name.replace("`", "``") + "`"


def _value(value: Value) -> str:
    if value.times is None:
        return _column(value.column)
    product = f"CAST({_sql(value.column)} AS DOUBLE) * CAST({_sql(value.times)} AS DOUBLE)"
    return f"{{sql: {json.dumps(product)}}}"


def _others(source: Events, role: str) -> str:
    column = source.user if role == "user_id" else source.item
    if column is None:
        return f"no column looks like it; columns: {', '.join(source.sample.columns)}"
    others = source.unsure.get(role, ())
    return f"or {', '.join(others)}" if others else ""


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _line(key: str, value: str, note: str) -> str:
    line = f"{key}: {value}"
    return f"{line:<{COMMENT_AT}}# {note}" if note and len(line) < COMMENT_AT else f"{line}  # {note}" if note else line


def _quote(text: str) -> str:
    return text if PLAIN.fullmatch(text) and text.lower() not in YAML_WORDS else json.dumps(text, ensure_ascii=False)


def _stem(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_\-]+", "_", path.name.split(".")[0]).strip("_") or "events"

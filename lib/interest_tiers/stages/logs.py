"""Logging of commands: text for a person, JSON for machines. Messages name stages, tables and counts, never users."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

FORMATS = ("text", "json")

#: Fields that a log record may carry beside its message.
FIELDS = ("stage", "run_id", "step", "rows_in", "rows_out", "seconds")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in FIELDS if hasattr(record, name)},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logging(log_format: str) -> None:
    """Send the records of this project to standard error. log_format: one of FORMATS."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    logger = logging.getLogger("interest_tiers")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if log_format == "json" else logging.INFO)
    logger.propagate = False

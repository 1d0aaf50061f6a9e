"""export_encoder: copies a model folder and adds the graphs of the backends openvino and sparknlp."""

import argparse
from itertools import islice
from pathlib import Path
from typing import Any

from interest_tiers.config import Embedding
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.errors import ConfigError

#: Limit of calibration texts, which the driver tokenises and keeps in memory.
MOST_TEXTS = 10_000


def add_command(commands: Any) -> None:
    """Add the command export_encoder to a parser's commands."""
    parser = commands.add_parser("export_encoder", help="export a language model for other backends", description=__doc__)
    default = Embedding().model
    parser.add_argument("--model", default=default, metavar="MODEL", help=f"a model folder or package; default: {default}")
    parser.add_argument(
        "--to",
        required=True,
        type=Path,
        metavar="FOLDER",
        help="new folder, for embedding.model; the same folder name keeps the stored vectors",
    )
    parser.add_argument(
        "--calibration-texts",
        type=Path,
        metavar="FILE",
        help="for int8 by openvino: some hundreds of texts like those to embed, one a line, all known before the cutoff",
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Export a model, and print how close the vectors of each graph are to torch's; returns the exit code."""
    _export(arguments.model, arguments.to, arguments.calibration_texts)
    return 0


def _export(model: str, target: Path, calibration_texts: Path | None) -> None:
    from interest_tiers.embedding.export import export_encoder, find_left_out

    texts = [] if calibration_texts is None else _read_texts(calibration_texts)
    for exported in export_encoder(model, target, texts):
        cosines = f"mean {exported.mean_cosine:.5f}, least {exported.least_cosine:.5f} of {exported.texts} texts"
        print(f"{exported.graph}   cosine with torch: {cosines}", flush=True)
    for backend, reason in find_left_out(read_model_folder(model)).items():
        print(f"{target / backend}   left out: {reason}", flush=True)


def _read_texts(file: Path) -> list[str]:
    """Read the lines with text. Raises ConfigError when there is none, or more than MOST_TEXTS."""
    try:
        with file.open(encoding="utf-8") as content:
            lines = list(islice((text for line in content if (text := line.strip())), MOST_TEXTS + 1))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--calibration-texts {file} cannot be read as lines of UTF-8: {error}") from error
    if not 0 < len(lines) <= MOST_TEXTS:
        found = f"more than {MOST_TEXTS}" if lines else "no"
        raise ConfigError(f"--calibration-texts {file} has {found} lines with text; give some hundreds of different texts")
    return lines

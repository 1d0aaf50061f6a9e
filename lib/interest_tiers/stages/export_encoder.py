"""export_encoder: copies a model folder and adds the graphs of the backends openvino and sparknlp."""

from itertools import islice
from pathlib import Path

from interest_tiers.errors import ConfigError

#: Limit of calibration texts, which the driver tokenises and keeps in memory.
MOST_TEXTS = 10_000


def export_model(model: str, target: Path, calibration_texts: Path | None) -> None:
    """Export a model, and print how close the vectors of each graph are to torch's."""
    from interest_tiers.embedding.export import export_encoder, find_left_out
    from interest_tiers.embedding.model_folder import read_model_folder

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

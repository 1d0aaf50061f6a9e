"""export_encoder: a copy of a model folder that the backends onnx and sparknlp can run."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from interest_tiers.config import Embedding
from interest_tiers.embedding.backends import require_engine
from interest_tiers.jobs.job import exit_code_of


def main(argv: Sequence[str] | None = None) -> int:
    """Export, and say of each graph how near its vectors come to those of torch."""
    parser = argparse.ArgumentParser(prog="interest-tiers export_encoder", description=__doc__)
    default = Embedding().model
    parser.add_argument("--model", default=default, metavar="MODEL", help=f"a model folder or package; default: {default}")
    parser.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="for embedding.model; the same name keeps its vectors")
    arguments = parser.parse_args(argv)
    return exit_code_of(lambda: _export(arguments.model, arguments.to))


def _export(model: str, target: Path) -> None:
    require_engine("onnx")
    from interest_tiers.embedding.export import export_encoder

    for made in export_encoder(model, target):
        print(f"{made.graph}   cosine with torch: mean {made.mean_cosine:.5f}, least {made.least_cosine:.5f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""spark-submit jobs/pipeline.py ...: the same as the command interest-tiers pipeline."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["pipeline", *sys.argv[1:]]))

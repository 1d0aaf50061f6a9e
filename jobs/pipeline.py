"""Entry point of pipeline for spark-submit: the command line is that of `interest-tiers pipeline`."""

import sys

from interest_tiers.stages.pipeline import main

if __name__ == "__main__":
    sys.exit(main())

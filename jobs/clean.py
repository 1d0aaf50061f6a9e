"""Entry point of clean for spark-submit: the command line is that of `interest-tiers clean`."""

import sys

from interest_tiers.stages.clean import main

if __name__ == "__main__":
    sys.exit(main())

"""Entry point of report for spark-submit: the command line is that of `interest-tiers report`."""

import sys

from interest_tiers.stages.report import main

if __name__ == "__main__":
    sys.exit(main())

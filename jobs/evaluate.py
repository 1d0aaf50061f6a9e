"""Entry point of evaluate for spark-submit: the command line is that of `interest-tiers evaluate`."""

import sys

from interest_tiers.stages.evaluate import main

if __name__ == "__main__":
    sys.exit(main())

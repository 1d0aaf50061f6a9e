"""Entry point of embed for spark-submit: the command line is that of `interest-tiers embed`."""

import sys

from interest_tiers.stages.embed import main

if __name__ == "__main__":
    sys.exit(main())

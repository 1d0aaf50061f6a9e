"""Entry point of recommend for spark-submit: the command line is that of `interest-tiers recommend`."""

import sys

from interest_tiers.stages.recommend import main

if __name__ == "__main__":
    sys.exit(main())

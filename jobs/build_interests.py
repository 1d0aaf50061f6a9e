"""Entry point of build_interests for spark-submit: the command line is that of `interest-tiers build_interests`."""

import sys

from interest_tiers.stages.build_interests import main

if __name__ == "__main__":
    sys.exit(main())

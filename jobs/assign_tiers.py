"""Entry point of assign_tiers for spark-submit: the command line is that of `interest-tiers assign_tiers`."""

import sys

from interest_tiers.stages.assign_tiers import main

if __name__ == "__main__":
    sys.exit(main())

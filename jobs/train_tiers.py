"""Entry point of train_tiers for spark-submit: the command line is that of `interest-tiers train_tiers`."""

import sys

from interest_tiers.stages.train_tiers import main

if __name__ == "__main__":
    sys.exit(main())

"""Entry point of cluster_users for spark-submit: the command line is that of `interest-tiers cluster_users`."""

import sys

from interest_tiers.stages.cluster_users import main

if __name__ == "__main__":
    sys.exit(main())

"""spark-submit jobs/cluster_users.py ...: the same as the command interest-tiers cluster_users."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["cluster_users", *sys.argv[1:]]))

"""spark-submit jobs/forget_users.py ...: the same as the command interest-tiers forget_users."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["forget_users", *sys.argv[1:]]))

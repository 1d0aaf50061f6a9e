"""Entry point of forget_users for spark-submit: the command line is that of `interest-tiers forget_users`."""

import sys

from interest_tiers.stages.forget_users import main

if __name__ == "__main__":
    sys.exit(main())

"""Entry point of show for spark-submit: the command line is that of `interest-tiers show`."""

import sys

from interest_tiers.stages.show import main

if __name__ == "__main__":
    sys.exit(main())

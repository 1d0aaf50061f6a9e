"""Entry point of export_encoder for spark-submit: the command line is that of `interest-tiers export_encoder`."""

import sys

from interest_tiers.stages.export_encoder import main

if __name__ == "__main__":
    sys.exit(main())

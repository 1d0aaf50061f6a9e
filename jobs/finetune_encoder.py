"""Entry point of finetune_encoder for spark-submit: the command line is that of `interest-tiers finetune_encoder`."""

import sys

from interest_tiers.stages.finetune_encoder import main

if __name__ == "__main__":
    sys.exit(main())

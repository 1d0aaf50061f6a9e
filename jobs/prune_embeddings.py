"""spark-submit jobs/prune_embeddings.py ...: the same as the command interest-tiers prune_embeddings."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["prune_embeddings", *sys.argv[1:]]))

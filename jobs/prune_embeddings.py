"""Entry point of prune_embeddings for spark-submit: the command line is that of `interest-tiers prune_embeddings`."""

import sys

from interest_tiers.stages.prune_embeddings import main

if __name__ == "__main__":
    sys.exit(main())

"""The benchmarks. `make bench` runs one query in several engines, on data of several sizes."""

"""A built-in subset of MNIST, which needs no network. Made by ``benchmarks/make_sample.py``."""

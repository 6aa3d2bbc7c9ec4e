"""Mutation testing: seeds bugs into the CUDA kernels and asks which the cases of tests/cuda see (README.md)."""

"""Tests that need a GPU, the calls that they make, and their rehearsal on the CPU (docs/cuda_testing.md)."""

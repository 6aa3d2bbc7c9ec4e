"""Benchmarks to run from the source tree: the cases of fimo_fast.bench under pytest-benchmark, and two studies.

``fimo_fast/bench`` defines the cases of the primitives and is installed, for ``fimo-fast bench``; this folder is not.
"""

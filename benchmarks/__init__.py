"""Benchmarks to run from the source tree; fimo_fast.bench defines those of the primitives, which these only time."""

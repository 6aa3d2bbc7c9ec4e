"""The fixed cost of a call, from torch and from NumPy."""


def bench_overhead(timed, case, name):
    timed(case, name)

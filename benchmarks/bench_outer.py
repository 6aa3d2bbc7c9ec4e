"""outer_dot and outer_norm2: inner products of per-example gradients of a linear layer."""


def bench_outer_dot(timed, case, name):
    timed(case, name)


def bench_outer_norm2(timed, case, name):
    timed(case, name)

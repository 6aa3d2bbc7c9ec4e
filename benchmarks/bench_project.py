"""project: sketches of a batch of gradients."""


def bench_project(timed, case, name):
    timed(case, name)

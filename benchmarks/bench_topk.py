"""topk: the best training examples of each query among stored features."""


def bench_topk(timed, case, name):
    timed(case, name)

"""scores and topk: inner products of queries with stored features, all of them and the best."""


def bench_scores(timed, case, name):
    timed(case, name)


def bench_topk(timed, case, name):
    timed(case, name)

"""The sketches that the tests of ops run over, by name."""

from fimo_fast.sketch import SJLT, SRHT, Composition, Factored, Gaussian, Mask, Rademacher, TensorSketch

SEED = 2**64 - 59


def vector_sketches(input_dim, sketch_dim, seed=SEED):
    """One of each kind; SJLT with a number of nonzeros that does not divide anything."""
    return [
        Rademacher(input_dim, sketch_dim, seed=seed),
        Gaussian(input_dim, sketch_dim, seed=seed),
        Mask(input_dim, sketch_dim, seed=seed),
        SJLT(input_dim, sketch_dim, nonzeros=min(3, sketch_dim), seed=seed),
        SRHT(input_dim, sketch_dim, seed=seed),
    ]


def kind(sketch):
    return sketch.kind


def outer_sketches(n, m, k=16):
    """All that can sketch the outer product of m and n numbers."""
    d, ka, km = m * n, min(n, 5), min(m, 6)
    factors = Factored(Mask(n, ka, SEED), Mask(m, km, SEED - 1))
    return {
        "rademacher": Rademacher(d, k, SEED),
        "gaussian": Gaussian(d, k, SEED),
        "sjlt": SJLT(d, k, SEED, nonzeros=min(3, k)),
        "srht": SRHT(d, k + 3, SEED),
        "mask": Mask(d, min(d, k), SEED),
        "factored rademacher": Factored(Rademacher(n, ka, SEED), Rademacher(m, km, 1)),
        "factored gaussian": Factored(Gaussian(n, ka, SEED), Gaussian(m, km, 1)),
        "factored srht, sjlt": Factored(SRHT(n, ka, SEED), SJLT(m, km, 1, nonzeros=1)),
        "factored masks": factors,
        "tensorsketch": TensorSketch(n, m, 64, SEED),
        "grass": Composition(Mask(d, min(d, k), 1), SJLT(min(d, k), 5, 2, nonzeros=2)),
        "factgrass": Composition(factors, SJLT(ka * km, 7, 3, nonzeros=1)),
        "three stages": Composition(Composition(SJLT(d, k, 1, nonzeros=1), SRHT(k, 9, 2)), Rademacher(9, 4, 3)),
        "tensorsketch, srht": Composition(TensorSketch(n, m, 64, SEED), SRHT(64, 16, 4)),
    }


OUTER = list(outer_sketches(2, 2))
SLICED = ["rademacher", "gaussian", "sjlt", "srht", "mask", "grass", "three stages"]  # those that take an offset


# SRHTs: blocks of many rows, of some, and of less than one; and one number a block, in which the transform is trivial.
ROWS = {
    "rademacher": lambda dim: Rademacher(dim, 150, SEED),
    "gaussian": lambda dim: Gaussian(dim, 150, SEED),
    "sjlt": lambda dim: SJLT(dim, 40, SEED, nonzeros=1),
    "sjlt of three": lambda dim: SJLT(dim, 40, SEED, nonzeros=3),
    "mask": lambda dim: Mask(dim, min(dim, 40), SEED),
    "srht": lambda dim: SRHT(dim, 256, SEED),
    "srht, some rows": lambda dim: SRHT(dim, 50, SEED),
    "srht, short blocks": lambda dim: SRHT(dim, 13, SEED),
    "srht to one number": lambda dim: SRHT(dim, 1, SEED),
}

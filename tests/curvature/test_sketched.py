"""The Gauss-Newton matrix of sketched gradients."""

import pytest
import torch
from torch import nn

import fimo_fast as ff
from fimo_fast.curvature import DampedInverse, Horizon, SketchedGaussNewton

PROBLEM = ff.Problem(nn.Linear(2, 1).double(), lambda o, y: (o[:, 0] - y).square())


def test_solves_by_its_definition():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    vectors = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    curvature = SketchedGaussNewton(PROBLEM, features)
    matrix = features.T @ features / 9
    assert curvature.mean_eigenvalue == pytest.approx(torch.linalg.eigvalsh(matrix).mean().item())
    damped = matrix + 0.3 * torch.eye(4).double()
    torch.testing.assert_close(curvature.apply(DampedInverse(0.3), vectors), torch.linalg.solve(damped, vectors.T).T)
    torch.testing.assert_close(curvature.matrix, matrix)  # as it was


def test_refused():
    curvature = SketchedGaussNewton(PROBLEM, torch.ones(3, 4))
    with pytest.raises(ValueError, match="damping: ΦᵀΦ of 3 examples in 4 dimensions is singular with damping 0"):
        curvature.apply(DampedInverse(0.0), torch.ones(1, 4))
    with pytest.raises(TypeError, match="f: expected a DampedInverse, got Horizon"):
        curvature.apply(Horizon(0.1, 3), torch.ones(1, 4))

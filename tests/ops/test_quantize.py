"""quantize: how far off int8 is, its extremes, and what is refused."""

import ml_dtypes
import numpy as np
import pytest
import torch

from fimo_fast.ops import quantize, scores

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_quantize_is_half_a_step_off(dtype):
    x = torch.randn(40, 33).to(dtype)
    x[3] = 0
    codes, scales = quantize(x)
    assert codes.dtype == torch.int8 and scales.dtype == torch.float32
    assert codes.abs().max() == 127 and scales[3] == 0 and (codes[3] == 0).all()
    largest = x.double().abs().amax(1)
    torch.testing.assert_close(scales.double(), largest / 127, rtol=2e-7, atol=0)
    error = (codes.double() * scales.double()[:, None] - x.double()).abs()
    assert (error <= scales.double()[:, None] * (0.5 + 1e-4)).all()
    exact = x.double() @ x.double().T
    assert (scores(codes, codes, scales, scales) - exact).norm() < 0.02 * exact.norm()


def test_quantize_extremes():
    tiny = torch.tensor([[1e-45, 0.0], [-3e-38, 1e-38], [3.4e38, -3.4e38], [0.0, -0.0]])
    codes, scales = quantize(tiny)
    assert codes[0].tolist() == [0, 0] and codes[2].tolist() == [127, -127] and codes[3].tolist() == [0, 0]
    assert abs(codes[1, 0].item() * scales[1].item() + 3e-38) < 1e-40
    assert quantize(torch.zeros(0, 4))[0].shape == (0, 4)
    assert quantize(torch.zeros(4, 0))[1].tolist() == [0.0] * 4
    x = np.random.default_rng(0).normal(size=(5, 7)).astype(">f4")
    x.setflags(write=False)
    codes, scales = quantize(x)
    expected = quantize(torch.from_numpy(x.astype(np.float32)))
    assert isinstance(codes, np.ndarray) and (codes == expected[0].numpy()).all()
    assert (scales == expected[1].numpy()).all()


def test_numpy_bfloat16():
    x = np.random.default_rng(0).normal(size=(5, 7)).astype(ml_dtypes.bfloat16)
    wide = torch.from_numpy(x.astype(np.float32))
    for actual, expected in zip(quantize(x), quantize(wide), strict=True):
        assert (actual == expected.numpy()).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: quantize(torch.zeros(2, 3, dtype=torch.int8)), TypeError, "x: .*got torch.int8"),
        (lambda: quantize(torch.zeros(3)), ValueError, r"x: .*got \[3\]"),
        (lambda: quantize(torch.tensor([[1.0], [torch.nan]])), ValueError, "x: .*finite.*nan in row 1"),
        (lambda: quantize(torch.tensor([[-torch.inf]])), ValueError, "x: .*finite.*inf in row 0"),
        (lambda: quantize(torch.tensor([[1e300]], dtype=torch.float64)), ValueError, "x: .*1e.300 in row 0"),
    ],
)
def test_refusals_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()

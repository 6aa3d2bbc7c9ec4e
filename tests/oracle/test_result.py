"""What a result says of its own certainty, and its file."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fimo_fast import FurtherTrainingResult


def result(per_seed):
    seeds, epochs, queries, left_out = per_seed.shape
    return FurtherTrainingResult(
        per_seed, torch.zeros(seeds, epochs, queries), torch.zeros(seeds, epochs), 1.0, tuple(range(left_out)),
        tuple(range(seeds)), 100, 1.0, 1.0,
    )  # fmt: skip


def noisy(seeds, noise, queries=300, left_out=100, epochs=1):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(1, epochs, queries, left_out, generator=generator, dtype=torch.float64)
    return truth + noise * torch.randn(seeds, epochs, queries, left_out, generator=generator, dtype=torch.float64)


def test_mean_and_standard_error():
    values = noisy(5, 1.0)
    np.testing.assert_allclose(result(values).effects, values.numpy().mean(0))
    np.testing.assert_allclose(result(values).stderr, values.numpy().std(0, ddof=1) / np.sqrt(5))


@pytest.mark.parametrize("seeds", [2, 5, 8, 24])
@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_reliability_is_the_cosine_with_a_repetition(seeds, noise):
    """Two means of S seeds with truth variance 1 and noise variance σ²/S have cosine 1 / (1 + σ²/S)."""
    found = result(noisy(seeds, noise))
    np.testing.assert_allclose(found.reliability, 1 / (1 + noise**2 / seeds), atol=0.02)
    half = seeds // 2
    np.testing.assert_allclose(found.split_half, 1 / (1 + noise**2 / half), atol=0.02)


def test_no_signal_has_no_reliability():
    generator = torch.Generator().manual_seed(0)
    found = result(torch.randn(8, 1, 50, 100, generator=generator, dtype=torch.float64))
    assert found.reliability.abs() < 0.05


def test_one_seed_knows_nothing_of_its_error():
    found = result(noisy(1, 1.0))
    assert found.reliability.isnan().all() and found.stderr.isnan().all() and found.split_half.isnan().all()


def test_saves_and_loads(tmp_path):
    found = result(noisy(3, 1.0))
    found.save(tmp_path / "folder" / "oracle.safetensors")
    again = FurtherTrainingResult.load(tmp_path / "folder" / "oracle.safetensors")
    for name in ("per_seed", "full", "distance"):
        assert torch.equal(getattr(again, name), getattr(found, name))
    assert (again.left_out, again.seeds, again.n_train) == (found.left_out, found.seeds, found.n_train)
    assert os.listdir(tmp_path / "folder") == ["oracle.safetensors"]


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "oracle.safetensors"
    found = result(noisy(3, 1.0))
    found.save(path)
    before = path.read_bytes()

    def half_written(tensors, file, metadata):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("fimo_fast.oracle.result.save_file", half_written)
    with pytest.raises(OSError, match="disk full"):
        result(noisy(4, 1.0)).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["oracle.safetensors"]


def test_refused_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        FurtherTrainingResult.load(tmp_path / "missing")
    (tmp_path / "damaged").write_bytes(b"\x00" * 100)
    with pytest.raises(ValueError, match="damaged"):
        FurtherTrainingResult.load(tmp_path / "damaged")
    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="expected a file of fimo_fast.FurtherTrainingResult"):
        FurtherTrainingResult.load(tmp_path / "other")

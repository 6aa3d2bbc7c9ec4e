"""Ready problems: the paper's protocol, and data that are refused."""

import numpy as np
import pytest
import torch

from fimo_fast import experiments


def write_table(path, rows, columns=9):
    np.savetxt(path, np.random.default_rng(0).normal(size=(rows, columns)), delimiter=",")
    return path


@pytest.mark.parametrize(
    ("name", "rows", "n_train", "n_test", "last"),
    [("concrete", 1030, 927, 103, [882, 891]), ("energy", 768, 691, 77, [686, 690])],
)
def test_the_papers_protocol(name, rows, n_train, n_test, last, tmp_path, monkeypatch):
    monkeypatch.setattr("fimo_fast.experiments.tabular.fit", lambda model, *rest: model.eval())
    task = experiments.from_csv(name, write_table(tmp_path / "table.csv", rows), epochs=20, seeds=8)
    assert len(task.train[0]) == n_train and len(task.queries[0]) == n_test
    assert len(task.left_out) == 100 and task.left_out[-2:] == last
    assert task.problem.numel == 8 * 128 + 128 + 128 * 128 + 128 + 128 + 1
    assert task.training.rule.learning_rate == 0.03 and task.training.batch_size == 128
    torch.testing.assert_close(task.train[0].mean(0), torch.zeros(8).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(task.train[0].std(0, unbiased=False), torch.ones(8).double())


def test_refused_tables(tmp_path):
    with pytest.raises(ValueError, match="name: expected one of"):
        experiments.from_csv("fico", tmp_path, 1, 1)
    with pytest.raises(ValueError, match=r"data: expected 1030 rows of 9 columns for concrete, got \(5, 9\)"):
        experiments.from_csv("concrete", write_table(tmp_path / "short.csv", 5), 1, 1)
    (tmp_path / "header.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="data: expected numbers separated by commas, no header"):
        experiments.from_csv("concrete", tmp_path / "header.csv", 1, 1)


def test_digits_learns_and_some_labels_are_wrong():
    task = experiments.digits()
    with torch.no_grad():
        right = (task.problem.model(task.queries[0]).argmax(1) == task.queries[1]).double().mean()
    assert right > 0.8
    assert len(task.left_out) == len(set(task.left_out)) == 40
    assert task.images is not None and task.images[0].shape == (1024, 8, 8)

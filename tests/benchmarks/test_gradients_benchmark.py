"""benchmarks/gradients/: what it times is right, shares of the work are scaled, and it runs from one command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loading import load_from_root
from torch import nn

import fimo_fast as ff

ROOT = Path(__file__).resolve().parents[2]


def module(name):
    """A module of benchmarks/gradients/."""
    return load_from_root(f"benchmarks.gradients.{name}")


def one_by_one(subject):
    """Gradients by autograd, an example at a time: [batch, parameters]."""
    rows = []
    for x, y in zip(subject.inputs, subject.targets, strict=True):
        loss = subject.loss(subject.model(x[None]), y[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(subject.model.parameters()))]))
    return torch.stack(rows)


def test_formed_gradients():
    subject = module("models").mlp((5, 4, 3), 6)
    torch.testing.assert_close(module("contenders").matrix_of(subject)(), one_by_one(subject))


def test_losses_of_tokens_are_of_the_next_one():
    models = module("models")
    logits = torch.full((1, 3, 4), -30.0)
    ids = torch.tensor([[0, 2, 3]])
    logits[0, 0, 2] = logits[0, 1, 3] = 30.0
    assert models.token_losses(logits, ids).item() < 1e-6
    logits[0, 1, 3] = -30.0  # now the last token's is uniform
    torch.testing.assert_close(models.token_losses(logits, ids), torch.tensor([0.5 * torch.tensor(4.0).log()]))


def test_resnet9_has_the_parameters_of_traks():
    subject = module("models").resnet9(2)
    assert 2.2e6 < subject.numel < 2.4e6
    assert subject.loss(subject.model(subject.inputs), subject.targets).shape == (2,)


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_a_wrong_sketch_is_not_timed(monkeypatch, factor):
    contenders = module("contenders")
    subject = module("models").mlp((5, 4, 3), 6)
    gradients = one_by_one(subject)

    def sketch(problem, examples, sketch, batch_size, out):
        return factor * ff.project(gradients[:batch_size], sketch)

    monkeypatch.setattr(ff.gradients, "sketch", sketch, raising=False)
    if factor == 1:
        assert contenders.sketched(subject).result == 4096
    else:
        with pytest.raises(RuntimeError, match="differ from those of torch.func"):
            contenders.sketched(subject)


def test_a_part_counts_for_its_whole_work(monkeypatch):
    timing = module("timing")
    times = {"form": 2.0, "product": 0.5}
    monkeypatch.setattr(timing, "time_call", lambda call, *_: times[call()])
    parts = [timing.Part(lambda: "form"), timing.Part(lambda: "product", 0.25)]
    contender = timing.Contender("both", 8, parts)
    timing.take_turns([contender], 1, 30)
    assert contender.rounds == [4.0] * len(contender.rounds) and len(contender.rounds) >= 3
    assert contender.best == contender.median == 2.0


def test_what_is_slow_gets_two_rounds(monkeypatch):
    timing = module("timing")
    monkeypatch.setattr(timing, "time_call", lambda call, *_: call())
    slow, quick = (timing.Contender(str(s), 1, [timing.Part(lambda s=s: s)]) for s in (60.0, 0.1))
    timing.take_turns([slow, quick], 1, 1)
    assert len(slow.rounds) == 2 and len(quick.rounds) == 10


def test_linear_weights_leave_out_what_is_tied():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 5))
    model[3].weight = model[0].weight
    assert module("contenders").linear_weights(model) == ["1.weight"]


def test_a_peer_that_sketches_nothing_is_found():
    peers = module("peers")
    subject = module("models").mlp((5, 4, 3), 6)
    with pytest.raises(RuntimeError, match="no row 0"):
        peers._layer_contender("idle", subject, subject.model, ["0"], lambda: torch.zeros(6, 4), 4)
    with pytest.raises(RuntimeError, match=r"expected \[6, 4\]"):
        peers._layer_contender("short", subject, subject.model, ["0"], lambda: torch.ones(5, 4), 4)


@pytest.mark.slow
def test_the_command(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.gradients.run",
        "--model",
        "mlp",
        "--only",
        "vmap(grad)",
        "--seconds",
        "0",
    ]
    command += ["--json", tmp_path / "found.json", "--markdown", tmp_path / "found.md"]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True, capture_output=True, timeout=120)
    found = json.loads((tmp_path / "found.json").read_text())["models"]["mlp"]
    assert found["parameters"] == 94218 and found["batch"] == 1024
    assert [each["name"] for each in found["contenders"]] == ["forward + backward", "vmap(grad)"]
    for each in found["contenders"]:
        assert each["examples_per_second"] == pytest.approx(1024 / min(each["rounds"]))
    lines = (tmp_path / "found.md").read_text().splitlines()
    assert any(line.startswith("| forward + backward |") and "| 1.00× |" in line for line in lines)


@pytest.mark.slow
def test_memory_of_one_way():
    command = [sys.executable, "-m", "benchmarks.gradients.memory", "--measure", "formed mlp"]
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, check=True, capture_output=True, timeout=120, text=True
    )
    # Formed gradients, at least, and not many copies of them.
    formed = 1024 * 94218 * 4
    assert formed < json.loads(done.stdout.splitlines()[-1]) < 5 * formed

"""The command for a GPU without one: its flow with other commands in it, and the tests that it runs, rehearsed."""

import os
import subprocess
import sys

import on_gpu
import pretend_cuda
import pytest
import torch

HERE = on_gpu.ROOT / "tests" / "cuda"
PASSED = '<testsuites><testsuite><testcase classname="a" name="b"/>{}</testsuite></testsuites>'


@pytest.fixture
def pretended(monkeypatch):
    """A GPU and the programs of the toolkit, but no compute-sanitizer."""
    monkeypatch.setattr(on_gpu, "_has", lambda program: program != "compute-sanitizer" and program != "nvidia-smi")
    with pretend_cuda.cuda(monkeypatch):
        yield


def stand_ins(monkeypatch, **scripts):
    """Each step runs a script of its own, in which OUT is the folder."""
    default = {
        "build": "print('built')",
        "tests": f"open(OUT + '/tests.xml', 'w').write({PASSED.format('')!r}); print('tested')",
        "bench": "open(OUT + '/bench.md', 'w').write('| a table |'); print('timed')",
    }
    real = on_gpu.steps

    def steps(out, build):
        found = real(out, build)
        for step in found:
            step.command = [sys.executable, "-c", f"OUT = {str(out)!r}\n{({**default, **scripts})[step.name]}"]
        return found

    monkeypatch.setattr(on_gpu, "steps", steps)


def test_all_is_well(pretended, monkeypatch, tmp_path, capfd):
    stand_ins(monkeypatch)
    assert on_gpu.main(["--out", str(tmp_path / "out")]) == 0
    report = (tmp_path / "out" / "report.md").read_text()
    for words in (
        "# fimo_fast on Pretended H100", "Compute capability 9.0, 132 multiprocessors, 80 GiB", "| build | ok |",
        "| tests | ok |", "| bench | ok |", "- 1 passed, 0 failed, 0 skipped", "| a table |",
        f"torch {torch.__version__}",
        "- compute-sanitizer is not there: no check of memory", "- One device: nothing was checked on a second one.",
    ):  # fmt: skip
        assert words in report
    assert "FAILED" not in report
    assert (tmp_path / "out" / "bench.log").read_text() == "timed\n"
    said = capfd.readouterr().out
    assert "tested" in said and said.rstrip().endswith("report.md: all is well")


def test_a_failed_build_ends_the_run(pretended, monkeypatch, tmp_path):
    stand_ins(monkeypatch, build="raise SystemExit(3)")
    assert on_gpu.main(["--out", str(tmp_path)]) == 1
    report = (tmp_path / "report.md").read_text()
    assert "| build | FAILED, status 3 |" in report and "| tests | not run |" in report
    assert "Nothing: see bench.log." in report


def test_without_a_build_there_is_no_such_step(pretended, monkeypatch, tmp_path):
    stand_ins(monkeypatch)
    assert on_gpu.main(["--out", str(tmp_path), "--no-build"]) == 0
    assert "build" not in (tmp_path / "report.md").read_text()


RESULTS = (
    '<testcase classname="tests.cuda.test_gpu" name="test_one"><failure message="off"/></testcase>'
    '<testcase classname="x" name="y"><error message="setup"/></testcase>'
    '<testcase classname="x" name="z"><skipped message="needs two CUDA devices"/></testcase>'
    '<testcase classname="x" name="w"><skipped message="needs two CUDA devices"/></testcase>'
)


def test_failures_and_skips_are_named_and_the_benchmark_runs_all_the_same(pretended, monkeypatch, tmp_path):
    failing = f"open(OUT + '/tests.xml', 'w').write({PASSED.format(RESULTS)!r}); raise SystemExit(1)"
    stand_ins(monkeypatch, tests=failing)
    assert on_gpu.main(["--out", str(tmp_path)]) == 1
    report = (tmp_path / "report.md").read_text()
    for words in (
        "| tests | FAILED, status 1 |", "- 1 passed, 2 failed, 2 skipped", "- FAILED tests.cuda.test_gpu::test_one",
        "- FAILED x::y", "- skipped 2: needs two CUDA devices", "| bench | ok |", "| a table |",
    ):  # fmt: skip
        assert words in report


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("pass", "no results: pytest ended before"),
        (f"open(OUT + '/tests.xml', 'w').write({PASSED.replace('<testcase', '<nothing').format('')!r})", "0 passed"),
        (
            "open(OUT + '/tests.xml', 'w').write("
            + repr(PASSED.format('<testcase name="z"><skipped message="needs a CUDA device"/></testcase>'))
            + ")",
            "the tests of the device were skipped",
        ),
    ],
)
def test_tests_that_did_not_run_are_no_success(pretended, monkeypatch, tmp_path, script, words):
    stand_ins(monkeypatch, tests=script)
    assert on_gpu.main(["--out", str(tmp_path)]) == 1
    report = (tmp_path / "report.md").read_text()
    assert words in report and "| tests | FAILED, status 1 |" in report


def test_results_of_an_earlier_run_are_not_taken_for_this_one(pretended, monkeypatch, tmp_path):
    (tmp_path / "tests.xml").write_text(PASSED.format(""))
    (tmp_path / "bench.md").write_text("an old table")
    stand_ins(monkeypatch, tests="pass", bench="raise SystemExit(1)")
    assert on_gpu.main(["--out", str(tmp_path)]) == 1
    report = (tmp_path / "report.md").read_text()
    assert "no results" in report and "an old table" not in report and "| bench | FAILED, status 1 |" in report


def test_the_default_folder_is_named_after_the_device(pretended, monkeypatch, tmp_path):
    stand_ins(monkeypatch)
    monkeypatch.setattr(on_gpu, "ROOT", tmp_path)
    assert on_gpu.main([]) == 0
    assert (tmp_path / "docs" / "gpu" / "pretended-h100" / "report.md").exists()


@pytest.mark.slow
def test_what_runs(tmp_path):
    build, tests, bench = on_gpu.steps(tmp_path, True)
    assert build.command[-2:] == ["-e", ".[test-full]"]
    assert all((on_gpu.ROOT / path).exists() for path in (*on_gpu.TESTS, on_gpu.PREDICTIONS))
    assert tests.command[3:] == [*on_gpu.TESTS, "--device", "cuda", f"--junitxml={tmp_path}/tests.xml"]
    done = subprocess.run(
        [*bench.command[:4], "--help"], capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}
    )
    assert done.returncode == 0
    assert all(option in done.stdout for option in bench.command if option.startswith("--"))
    collected = [*tests.command[:-1], "--collect-only", "-q", "-k", "sjlt and memcheck or SJLT1000"]
    done = subprocess.run(collected, capture_output=True, text=True, cwd=on_gpu.ROOT)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "test_right[sjlt-memcheck]" in done.stdout and "[project SJLT1000-float32]" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_says_so_in_one_sentence(tmp_path):
    command = [sys.executable, HERE / "on_gpu.py", "--out", tmp_path / "out"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout and not (tmp_path / "out").exists()
    assert done.stderr.rstrip() == (
        f"on_gpu: needs a CUDA device that torch can use, got none (torch {torch.__version__})"
    )


def test_without_a_compiler_it_says_so(pretended, monkeypatch, capsys):
    monkeypatch.setattr(on_gpu, "_has", lambda program: program not in ("nvcc", "ninja"))
    assert on_gpu.main([]) == 2
    assert capsys.readouterr().err == "on_gpu: needs nvcc, cmake, ninja on the PATH, got no nvcc, ninja\n"


# --- The tests themselves -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "some", "least"),
    [
        ("test_gpu.py", "not bfloat16 and not float16", 120),
        ("test_gpu_streams.py", "", 80),
        ("test_gpu_models.py", "(computations and float32) or decoder or kernels or dataset or evaluated", 16),
    ],
)
def test_the_tests_of_a_gpu_are_right(file, some, least, tmp_path):
    """On the CPU, with its kernels in place of a GPU's: what fails here is a mistake in the test."""
    results = tmp_path / "tests.xml"
    options = ["-p", "gpu.rehearsal", "-q", "-k", some, f"--junitxml={results}"]
    command = [sys.executable, "-m", "pytest", HERE / "gpu" / file, *options]
    folders = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment, cwd=HERE)
    assert done.returncode == 0, done.stdout[-6000:]
    counts, _, skipped = on_gpu.summary(results)
    assert counts["passed"] >= least and "needs a CUDA device" not in skipped

"""The document, the tables and the figure of a run, from made-up times."""

import json

import pytest
import torch
from rich.console import Console

from fimo_fast.bench import peak, roofline, table
from fimo_fast.bench.measured import Entry, Result
from fimo_fast.bench.operations import overhead, project, scores
from fimo_fast.bench.results import document, reason_to_skip

CPU = torch.device("cpu")
PEAKS = {"read": 30e9, "SGEMM": 200e9}
SQUARE = peak.gemm_operations(torch.float32, CPU)


def made(case, kernel, baselines=(), threads=2, sgemm_seconds=SQUARE / 200e9, **missing):
    entries = [Entry("kernel", "kernel", lambda: None, t, rounds=[kernel / t, 2 * kernel / t]) for t in {1, threads}]
    if case.bound != "call":
        entries.append(Entry("read", "read", lambda: None, threads, rounds=[0.004]))
        entries.append(Entry("sgemm", "sgemm", lambda: None, threads, rounds=[sgemm_seconds]))
    entries += [Entry(name, kind, lambda: None, threads, share, rounds=[t]) for name, kind, t, share in baselines]
    read_bytes = max(1, case.sizes.get("batch", 0) * case.sizes.get("dim", 0) * 4)
    return Result(case, threads, read_bytes, entries, dict(missing), PEAKS)


@pytest.fixture
def results():
    f32 = torch.float32
    ran = [
        made(project.case("SRHT", 32, 1_000_000, 2048, f32), 0.016, [("torch products", "torch", 0.09, 1.0)]),
        made(
            project.case("Rademacher", 32, 1_000_000, 2048, f32),
            2.0,
            [("slow", "torch", 5.0, 0.25), ("torch", "torch", 4.0, 0.25), ("TRAK", "peer", 25.0, 0.1)],
            dattri="dattri is not installed",
        ),
        made(scores.topk_case(1024, 20_000, 512, f32), 0.2, sgemm_seconds=1.0),
        made(overhead.case("project", "torch", f32), 6e-6, [("torch a @ b", "torch", 1.5e-6, 1.0)]),
    ]
    return document(ran, {"project huge": "needs 9.0 GiB"}, PEAKS, CPU, 2, "fimo-fast bench")


def test_document(results):
    again = json.loads(json.dumps(results, allow_nan=False))
    assert set(again) == {
        "schema", "machine", "peaks", "predicted_for", "skipped", "wrong", "cases"
    } and again["schema"] == 3  # fmt: skip
    assert set(again["machine"]) >= {"cpu", "isa", "threads", "torch", "fimo_fast", "date", "command"}
    assert all(
        set(case) == {
            "operation", "name", "dtype", "sizes", "bound", "product", "predicted", "moved_bytes",
            "input_bytes", "operations", "seconds",
            "floor_seconds", "of_floor", "of_floor_median", "scaling", "disturbed", "baselines", "missing", "timings",
        }
        for case in again["cases"]
    )  # fmt: skip
    srht, rademacher, best, call = again["cases"]
    # Half of 0.016 s on two threads. 128 MB and the result of 32 x 2048 x 4 bytes; the read of 128 MB took 4 ms.
    assert (srht["seconds"], srht["scaling"]) == (0.008, 2.0)
    assert srht["of_floor"] == pytest.approx(0.5 * (1 + 2048 / 1_000_000))
    # Medians: half as fast, as the second round took twice as long.
    assert srht["of_floor_median"] == pytest.approx(srht["of_floor"] * 8 / 12)
    kernel = srht["timings"][1]
    assert (kernel["threads"], kernel["best"], kernel["median"], kernel["rounds"]) == (2, 0.008, 0.012, [0.008, 0.016])
    assert rademacher["floor_seconds"] == pytest.approx(2 * 32 * 1e6 * 2048 / 200e9)
    assert [(r["name"], r["times"], r["share"]) for r in rademacher["baselines"]] == [
        ("slow", 5.0, 0.25), ("torch", 4.0, 0.25), ("TRAK", 25.0, 0.1),
    ]  # fmt: skip
    assert rademacher["missing"] == {"dattri": "dattri is not installed"}
    assert best["disturbed"] and not srht["disturbed"]
    assert call["of_floor"] is None and call["scaling"] is None


def test_rows(results):
    rows = [table.row(case, results) for case in results["cases"]]
    assert rows[0] == ["SRHT 32 x 1M to 2048", "f32", "8.00 ms", "16.0 GB/s", "0.50 (0.33) read", "11×", "", "2.0×"]
    assert rows[1] == [
        "Rademacher 32 x 1M to 2048", "f32", "1.00 s", "131 GFLOP/s", "0.66 (0.44) SGEMM", "4.00×*", "TRAK 25×*",
        "2.0×",
    ]  # fmt: skip
    assert rows[2][2] == "100 ms !"
    assert rows[3] == ["project from torch", "f32", "3.00 µs", "torch a @ b: 1.50 µs", "", "", "", ""]


def test_of_each_library_the_best_way_is_shown():
    case = scores.topk_case(8, 100_000, 512, torch.int8)
    baselines = [("FAISS slow", "peer", 0.4, 1.0), ("FAISS fast", "peer", 0.2, 1.0), ("other", "peer", 0.3, 1.0)]
    results = document([made(case, 0.2, baselines)], {}, PEAKS, CPU, 2, "")
    (shown,) = results["cases"]
    assert table.row(shown, results)[1] == "int8"
    assert table.row(shown, results)[6] == "FAISS 2.00×, other 3.00×"


def test_notes_say_what_the_marks_mean_and_what_is_missing(results):
    notes = "\n".join(table.notes(results))
    for part in (
        "2 threads", "reading 30.0 GB/s, SGEMM 200 GFLOP/s", "* timed on a part", "! others used the machine",
        "dattri: dattri is not installed", "Skipped: project huge: needs 9.0 GiB",
    ):  # fmt: skip
        assert part in notes
    results["cases"] = results["cases"][:1]
    notes = "\n".join(table.notes(results))
    assert "* timed" not in notes and "! others" not in notes and "dattri:" not in notes


def test_terminal_and_markdown_show_the_same_cells(results):
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table.terminal(results))
    text, markdown = console.export_text(), table.markdown(results)
    for cells in (table.row(case, results) for case in results["cases"]):
        assert all(cell in text for cell in cells)
        assert "| " + " | ".join(cell for cell in cells if cell) in markdown.replace("|  |", "|").replace("  ", " ")
    assert "| project | type | time | rate | of floor | torch | peers | 1 → 2 threads |" in markdown
    # The cost of a call has neither floor nor peers nor scaling.
    assert "| overhead | type | time | rate |\n" in markdown
    assert "\\* timed on a part" in markdown


def test_one_thread_has_no_scaling():
    case = project.case("SRHT", 32, 1_000_000, 2048, torch.float64)
    results = document([made(case, 0.01, threads=1)], {}, PEAKS, CPU, 1, "")
    assert table.headings(results)[-1] == "peers" and len(table.row(results["cases"][0], results)) == 7
    assert results["cases"][0]["scaling"] is None
    assert results["cases"][0]["product"] == "DGEMM"
    assert table.floor_name({"bound": "sgemm", "product": "DGEMM"}) == "DGEMM"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21e-6, "3.21 µs"), (45.6e-6, "45.6 µs"), (0.99951e-3, "1.00 ms"), (0.0123, "12.3 ms"), (12.34, "12.3 s")],
)
def test_durations(seconds, text):
    assert table.duration(seconds) == text


def test_figure(results):
    picture = roofline.draw(results)
    assert picture.startswith(b"\x89PNG") and len(picture) > 20_000
    results["cases"] = results["cases"][3:]
    with pytest.raises(ValueError, match="at least one case with a floor"):
        roofline.draw(results)


def test_numbers_in_the_figure_do_not_cover_each_other():
    dots = [(100.0 + 3 * i, 100.0) for i in range(12)]
    discs = []
    for dot in dots:
        discs.append(
            min(roofline._places(*dot), key=lambda place, dot=dot: roofline._crowding(place, dot, dots, discs))
        )
    apart = [((x - u) ** 2 + (y - v) ** 2) ** 0.5 for i, (x, y) in enumerate(discs) for u, v in discs[:i]]
    assert min(apart) >= 2 * roofline._MARK


def test_reasons_to_skip():
    case = project.case("Rademacher", 32, 1_000_000, 2048, torch.float32)
    assert reason_to_skip(case, False, 2**40, 200e9, 10.0) is None
    assert "the limit is 0.1 GiB (--memory)" in reason_to_skip(case, False, 2**27, 200e9, 10.0)
    # The two projectors hold 100 columns of their matrices, 0.37 GiB each.
    assert case.needed(peers=True) - case.needed(peers=False) == 2 * 1_000_000 * 100 * 4
    assert reason_to_skip(case, False, 2**30, 200e9, 10.0) is None
    assert "needs 1.2 GiB, the limit is 1.0 GiB" in reason_to_skip(case, True, 2**30, 200e9, 10.0)
    assert "one call takes 131 s" in reason_to_skip(case, False, 2**40, 1e9, 10.0)
    # What only reads has no such limit.
    assert reason_to_skip(project.case("SRHT", 32, 1_000_000, 2048, torch.float32), True, 2**40, 1.0, 10.0) is None

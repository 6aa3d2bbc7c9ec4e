"""The files: complete, self-contained, escaped, reproducible, atomic."""

import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from fimo_fast.report import Gallery, GalleryImage, GalleryRow, page, write
from fimo_fast.report.style import styles

Make = Callable[..., dict[str, Any]]
VOID = {"meta", "br", "img"}


class Reader(HTMLParser):
    """Collects attributes, ids and cell texts; checks that elements nest."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: set[str] = set()
        self.stack: list[str] = []
        self.cells: list[list[str]] = []

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.handle_startendtag(tag, attrs)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th") and self.cells:
            self.cells[-1].append("")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and (self.stack[-1] in ("td", "th") or self.stack[-2:] == ["td", "span"]):
            self.cells[-1][-1] += data.strip()


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.stack == []
    return reader


@pytest.fixture
def gallery() -> Gallery:
    rng = np.random.default_rng(0)

    def some(n: int) -> list[GalleryImage]:
        return [GalleryImage(rng.random((8, 8)) * 16, f"<i>{i}", -0.01 * i, i) for i in range(n)]

    row = GalleryRow(rng.random((28, 20, 3)), "3", "<u>8", some(4), some(0))
    return Gallery([row, GalleryRow(rng.random((8, 8)), "3", "3", some(2), some(3))], "<s>caption")


def test_methods_without_an_entry_are_shown_like_the_others(tmp_path: Path, results: Make, experiment: Make) -> None:
    ends = {"DampedEKFAC": (0.9, 0.95), "SomeInfluence": (0.2, 0.1), "GradDot": (0.5, 0.4)}
    report = write(results(experiment(methods=ends)), tmp_path)[0]
    rows = [row[0] for row in read(report).cells if row]
    assert [name for name in rows if name in ("Damped EKFAC", "Grad-Dot", "Some influence")] == [
        "Damped EKFAC", "Grad-Dot", "Some influence",
    ]  # fmt: skip
    page = report.read_text(encoding="utf-8")
    assert "Damped EKFAC reaches .95" in page
    for style in styles(ends).values():  # its curve, in its own colour, which has another one on the dark background
        assert f"--c-{style.line.removeprefix('#')}: {style.dark}" in page
        assert page.count(f"var(--c-{style.line.removeprefix('#')})") >= 2


def test_file_set_and_sizes(tmp_path: Path, results: Make, experiment: Make, gallery: Gallery) -> None:
    raw = results(experiment("a"), experiment("b/../c"))
    written = write(raw, tmp_path / "new" / "out", {"a": gallery})
    names = ["report.html", "agreement.png", "agreement_a.png", "gallery_a.png"]
    names.append("agreement_b_.._c.png")
    assert [p.name for p in written] == names
    assert sorted(os.listdir(tmp_path / "new" / "out")) == sorted(names)
    assert os.listdir(tmp_path) == ["new"]
    for path in written[1:]:
        with Image.open(path) as image:
            assert image.format == "PNG"
            if path.name == "agreement.png":
                assert image.width == 1800
            assert image.height > 300


def test_no_network_and_valid_references(tmp_path: Path, results: Make, experiment: Make, gallery: Gallery) -> None:
    page_ = write(results(experiment("a"), experiment("b")), tmp_path, {"b": gallery})[0]
    reader = read(page_)
    text = page_.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text.replace("data:image", ""))
    assert not reader.tags & {"script", "link", "iframe", "object", "embed", "base"}
    ids = [v for _, k, v in reader.attributes if k == "id"]
    assert len(ids) == len(set(ids))
    for _, key, value in reader.attributes:
        if key in ("href", "src"):
            assert value.startswith("data:image/png;base64,") or value.removeprefix("#") in ids
        for reference in re.findall(r"url\(#([^)]+)\)", value):
            assert reference in ids
    declared = set(re.findall(r"(--[\w-]+):", text))
    assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= declared


def test_hostile_names_are_escaped(tmp_path: Path, results: Make, experiment: Make, gallery: Gallery) -> None:
    bad = '"><script>alert(1)</script>$x_{$\\frac --> {{ 7*7 }} \x01'
    raw = results(experiment(bad, title=bad, setup={bad: bad}, methods={bad: (0.2, 0.4)}))
    raw["environment"] = {bad: bad}
    raw["experiments"][0]["methods"][bad]["settings"] = bad
    path = write(raw, tmp_path, {bad: gallery})[0]
    reader = read(path)
    assert not reader.tags & {"script", "u", "s"}
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<i>0" not in text
    assert "{{ 7*7 }}" in text
    assert not any(key.startswith("on") for _, key, _ in reader.attributes)


def test_table_matches_input(tmp_path: Path, results: Make) -> None:
    reader = read(write(results(), tmp_path)[0])
    table = {cells[0]: cells[1:] for cells in reader.cells}
    assert table["Unrolled derivative"] == [".79", ".82", ".86", ".77", "104\u202f%", "all", "1.5"]
    assert table["own seeds"][:4] == ["1.00", ".97", ".93", ".93"]
    assert table["Grad-Dot"][0] == ".87"
    assert table["TRAK"][2] == "−.02"
    assert table["Ceiling"][:3] == [".79", ".81", ".83"]
    assert table["Ceiling"][-1] == "41"


def strange(experiment: Make, case: str) -> dict[str, Any]:
    if case == "one epoch":
        return experiment(epochs=1)
    if case == "one method":
        return experiment(methods={"GradDot": (0.2, 0.1)})
    if case == "twelve methods":
        return experiment(methods={f"m{i}": (0.5, i / 12 - 0.4) for i in range(12)})
    if case == "many methods":
        return experiment(methods={f"method {i}" * 9: (0.5, 0.5) for i in range(25)})
    if case == "geometric epochs":
        return experiment(epochs=9) | {"epochs": [1, 2, 5, 10, 20, 50, 100, 200, 500]}
    if case == "fractions of epochs":
        return experiment() | {"epochs": [i / 20 for i in range(1, 21)]}
    nothing = experiment(
        reliability=None,
        reliability_interval=None,
        split_half=None,
        distance=[None] * 20,
        stderr_ratio=[None] * 20,
        oracle={"seconds": None, "run_epochs_per_second": None},
    )
    if case == "all null":
        for method in nothing["methods"].values():
            for key in method:
                if key not in ("settings", "own_seeds"):
                    method[key] = None
    return nothing


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "case",
    [
        "one epoch",
        "one method",
        "twelve methods",
        "many methods",
        "geometric epochs",
        "fractions of epochs",
        "ceiling null",
        "all null",
    ],
)
def test_strange_results_render(tmp_path: Path, results: Make, experiment: Make, case: str) -> None:
    read(write(results(strange(experiment, case)), tmp_path)[0])


def test_same_bytes_whatever_the_users_settings(tmp_path: Path, results: Make, gallery: Gallery) -> None:
    plain = write(results(), tmp_path / "a", {"concrete": gallery})
    before = dict(mpl.rcParams)
    settings: dict[Any, Any] = {
        "savefig.bbox": "tight",
        "figure.autolayout": True,
        "axes.facecolor": "black",
    }
    settings |= {"font.family": "serif", "axes.grid": True, "savefig.facecolor": "black"}
    with mpl.rc_context(settings):
        other = write(results(), tmp_path / "b", {"concrete": gallery})
    for a, b in zip(plain, other, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    assert dict(mpl.rcParams) == before


def test_an_error_leaves_the_old_report(
    tmp_path: Path, results: Make, experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {p: p.read_bytes() for p in write(results(), tmp_path)}
    broken = experiment()
    del broken["methods"]["TRAK"]["cosine"]
    with pytest.raises(ValueError, match="cosine"):
        write(results(broken), tmp_path)

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(results(experiment(title="new")), tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == old


def test_gallery_of_no_experiment(tmp_path: Path, results: Make, gallery: Gallery) -> None:
    with pytest.raises(ValueError, match="no experiment is named 'x'"):
        write(results(), tmp_path, {"x": gallery})
    assert not list(tmp_path.iterdir())


def test_hero_sizes() -> None:
    assert [page._hero(n).columns for n in (1, 2, 3, 4, 5)] == [1, 2, 3, 2, 3]

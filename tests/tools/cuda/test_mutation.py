"""Mutation testing: its operators, the list of equivalent mutants, the ledger, and a sample that must be killed."""

import collections
import re

import pytest

from tools.cuda.mutation import mutate
from tools.cuda.mutation.builds import CSRC
from tools.cuda.mutation.ledger import Entry, Ledger, code_of
from tools.cuda.mutation.mutants import EQUIVALENT, OPERATORS, all_mutants, equivalent, mutants_of, stale
from tools.cuda.mutation.trial import PASSES, Mutation

from runners import families, missing  # isort: skip  (of tests/cuda, which tools.cuda makes importable)

# A line for each operator, and one thing that it must become.
EXAMPLES = [
    ("barrier dropped", "  __syncthreads();", "  ;"),
    ("barrier dropped", "  __syncwarp(mask);", "  ;"),
    ("barrier of reduction dropped", "  while (__syncthreads_or(more)) {", "  while ((more)) {"),
    ("fence dropped", "  __threadfence();", "  ;"),
    ("wait dropped", "  copy_async_wait<1>();", "  ;"),
    ("wait for less", "  copy_async_wait<1>();", "  copy_async_wait<1 + 1>();"),
    ("commit dropped", "  copy_async_commit();", "  ;"),
    ("copy's bound dropped", "  copy_async<16>(to, from + i, i < n);", "  copy_async<16>(to, from + i, true);"),
    ("bound off by one", "  if (i < n) return;", "  if (i <= n) return;"),
    ("bound off by one", "  if (i >= n) return;", "  if (i > n) return;"),
    ("condition dropped", "  if (i >= n) return;", "  if (false) return;"),
    ("condition dropped", "  if (i < n) out[i] = 1;", "  if (true) out[i] = 1;"),
    ("part of a condition dropped", "  if (i < n && j < m) x = 1;", "  if (j < m) x = 1;"),
    ("choice dropped", "  x = inside ? y : 0.0f;", "  x = true ? y : 0.0f;"),
    ("constant off by one", "  x = y[i + 1];", "  x = y[i + 2];"),
    ("divisor off by one", "  x = y % 4;", "  x = y % (4 + 1);"),
    ("shift off by one", "  x = y >> 3;", "  x = y >> 4;"),
    ("mask's bit dropped", "  x = y & 7;", "  x = y & (7 >> 1);"),
    ("shuffle off", "  x = __shfl_xor_sync(kAllLanes, x, 1);", "  x = __shfl_xor_sync(kAllLanes, x, 2);"),
    ("lanes of the mask dropped", "  __syncwarp(kAllLanes);", "  __syncwarp((kAllLanes >> 1));"),
    ("fragment swapped", "  mma(d, a[0], b[1]);", "  mma(d, a[1], b[1]);"),
    ("fragment swapped", "  y = x[2] | x[3];", "  y = x[3] | x[3];"),
    ("fragment swapped", "  y = make_uint2(v.x, v.w);", "  y = make_uint2(v.y, v.w);"),
    ("atomic made plain", "  atomicAdd(&x[i], y);", "(*(&x[i]) = *(&x[i]) + (y));"),
    ("min and max swapped", "  x = min(y, z);", "  x = max(y, z);"),
    ("stride off by one", "  x = y[i * task.row_stride];", "  x = y[i * (task.row_stride + 1)];"),
    ("operands of minus swapped", "  x = end - begin;", "  x = begin - end;"),
    ("rounded down", "  x = ceil_div(n, 4);", "  x = ((n) / (4));"),
    ("sum overwritten", "  x += y;", "  x = y;"),
    ("sign flipped", "  x += y;", "  x -= y;"),
    ("loop from one", "  for (int i = 0; i < n; ++i) {", "  for (int i = 1; i < n; ++i) {"),
]


@pytest.mark.parametrize(("operator", "before", "after"), EXAMPLES, ids=[before.strip() for _, before, _ in EXAMPLES])
def test_operator(tmp_path, operator, before, after):
    file = tmp_path / "x.cuh"
    text = f"// if (i < n) return;\n#define X 1 + 1\n{before}  // i < n\n"
    file.write_text(text)
    found = [m for m in mutants_of(file) if m.operator == operator]
    changed = [text[: m.begin] + m.text + text[m.end :] for m in found]
    assert text.replace(before, after) in changed, changed
    assert all(m.line == 3 for m in found)


@pytest.mark.parametrize(("line", "bounds"), [
    ("  x = y < z ? y : z;", 0), ("  x = f(a - b > kMost ? kMost : a - b);", 0), ("  x = y < z ? z : w;", 1),
    ("  x = y < z ? y : z, v = u < w ? w : y;", 1), ("  x = xy < z ? y : z;", 1), ("  x = y < z ? y : zz;", 1),
])  # fmt: skip
def test_the_smaller_of_two_has_no_bound(tmp_path, line, bounds):
    file = tmp_path / "x.cuh"
    file.write_text(f"{line}\n")
    assert sum(m.operator == "bound off by one" for m in mutants_of(file)) == bounds


def test_all_operators_have_an_example():
    assert {operator for operator, *_ in OPERATORS} == {operator for operator, *_ in EXAMPLES}


def test_equivalent_mutants_are_of_files_that_are_changed():
    """That each is still a mutant is no test: whoever renames a variable need not know the list (mutate.py --check)."""
    files = {m.file for m in all_mutants(CSRC / "cuda")}
    listed = {key.split(":")[0] for key in equivalent(EQUIVALENT)}
    assert len(listed) > 20 and listed <= files


def test_names_of_files_are_unique():
    """So a key of the list, or of the ledger, needs no folder."""
    names = [file.name for file in (CSRC / "cuda").rglob("*") if file.suffix in (".cu", ".cuh", ".h")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("x.cu: a = 1;", "line 2: expected FILE: LINE ## REASON, got 'x.cu: a = 1;'"),
        ("x.cu: a = 1; ## ", "line 2: expected FILE: LINE ## REASON"),
        ("csrc/x.cu: a = 1; ## why", "line 2: expected FILE: LINE ## REASON"),
        ("x.cu: a = 1; ## why\nx.cu: a = 1; ## because", "line 3: expected each key once, got 'x.cu: a = 1;' again"),
    ],
)
def test_the_list_of_equivalent_mutants_has_one_form(tmp_path, lines, said):
    (tmp_path / "list.txt").write_text(f"# comment\n{lines}\n")
    with pytest.raises(ValueError, match=re.escape(said)):
        equivalent(tmp_path / "list.txt")


def test_stale_entries_are_named(tmp_path, monkeypatch, capsys):
    file, listing = tmp_path / "x.cuh", tmp_path / "list.txt"
    file.write_text("  if (i < n) return;\n  x += y;\n")
    listing.write_text("x.cuh: x = y; ## why\nx.cuh: any of if (i < n) return; ## why\nx.cuh: z = y; ## why\n")
    assert stale(listing, mutants_of(file)) == ["x.cuh: z = y;"]
    file.write_text("  if (row < n) return;\n  x += y;\n")
    gone = ["x.cuh: any of if (i < n) return;", "x.cuh: z = y;"]
    assert stale(listing, mutants_of(file)) == gone
    monkeypatch.setattr(mutate, "EQUIVALENT", listing)
    monkeypatch.setattr(mutate, "all_mutants", lambda folder: list(mutants_of(file)))
    assert mutate.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [f"list.txt: no such mutant: {key}" for key in gone]
    listing.write_text("x.cuh: x = y; ## why\n")
    assert mutate.main(["--check"]) == 0
    assert capsys.readouterr().out == "list.txt: every entry fits a mutant\n"


def test_ledger(tmp_path):
    file = tmp_path / "ledger.jsonl"
    ledger = Ledger(file)
    ledger.put(Entry("a", "code", verdict="killed", by="fifo: wrong", case="case 1"))
    ledger.put(Entry("b", "code", passed={"plain": "all cases"}))
    file.write_text(file.read_text() + '{"mutant": "c", "co')  # ended while it wrote
    again = Ledger(file)
    assert again.get("a", "code", ["case 1", "case 2"]).verdict == "killed"
    assert again.get("a", "code", ["case 2"]) == Entry("a", "code")  # the case that failed has changed
    assert again.get("a", "other code", ["case 1"]) == Entry("a", "other code")
    assert again.get("b", "code", []).passed == {"plain": "all cases"}
    assert again.get("c", "code", []) == Entry("c", "code")
    assert code_of("x = 1;  // one\n/* two\nlines */ y;") == code_of("x = 1;\ny;") != code_of("x = 2; y;")


@pytest.mark.native
def test_a_sample_is_killed(request):
    if request.config.getoption("device") != "cpu":
        pytest.skip("mutants are run on the emulator")
    if reason := next(filter(None, map(missing, ("plain", "asan", "tsan"))), ""):
        pytest.skip(reason)
    cache = request.config.cache
    # The builds of test_kernels.py.
    mutation = Mutation(cache.mkdir("cuda-mutants"), families(), Ledger(None), lambda mode: cache.mkdir(f"cuda-{mode}"))
    mutants = mutate.sample(all_mutants(CSRC / "cuda"), 2, 1, mutation)
    outcomes = mutate.score(mutation, mutants, list(PASSES), 2, print)
    verdicts = collections.Counter(outcome.verdict for outcome in outcomes)
    survived = [f"{o.mutant.file}:{o.mutant.line} {o.mutant.after}" for o in outcomes if o.verdict == "survived"]
    assert not survived, "\n".join(survived)
    assert {mutation.family_of(o.mutant.file) for o in outcomes} == set(families())
    assert verdicts["killed"] >= len(families()), verdicts
    assert all(re.match(r"(fifo|lifo|random1|asan|tsan): ", o.by) for o in outcomes if o.verdict == "killed")

"""All kernels against reference.py, executed on the CPU (default) or, with `pytest --device cuda`, on a GPU.

The emulator runs every case of tests/cuda/families in several orders of threads and blocks, under AddressSanitizer and
UndefinedBehaviorSanitizer, under ThreadSanitizer, and as nvcc compiles it. See docs/cuda_testing.md.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import cases
import pytest
from runners import EMULATED, ON_GPU, Way, build, cases_of, families, missing, run


def _ways(config):
    return ON_GPU if config.getoption("device") == "cuda" else EMULATED


def pytest_generate_tests(metafunc):
    if "family" in metafunc.fixturenames:
        metafunc.parametrize("family", families())
    if "way" in metafunc.fixturenames:
        metafunc.parametrize("way", list(_ways(metafunc.config)))


@pytest.fixture(scope="session")
def builds(request):
    """A function: the folder of a mode's build, which stays in pytest's cache."""
    known = {}

    def folder(mode):
        if mode not in known:
            if reason := missing(mode):
                known[mode] = reason
            else:
                known[mode] = build(request.config.cache.mkdir(f"cuda-{mode}"), mode)
        if isinstance(known[mode], str):
            pytest.skip(known[mode])
        return known[mode]

    return folder


@pytest.fixture(scope="session")
def family_cases(tmp_path_factory):
    """A function: a family's cases for a mode, and the file with them."""
    known = {}

    def get(family, mode):
        key = (family, mode == "tsan")
        if key not in known:
            found = [case for case in cases_of(family) if not (mode == "tsan" and case.heavy)]
            file = tmp_path_factory.mktemp("cases") / family
            cases.write(found, file)
            known[key] = (found, file)
        return known[key]

    return get


@pytest.fixture(scope="session")
def runs(request, builds, family_cases):
    """A function of a family and a way: its Run. All that this session asks for run side by side."""
    ways = _ways(request.config)
    wanted = set()
    for item in request.session.items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if item.path.name == os.path.basename(__file__):
            if "way" in params:
                wanted.add((params["family"], params["way"]))
            elif "family" in params:
                wanted |= {(params["family"], way) for pair in _bitwise(request.config) for way in pair}
    # On a GPU one at a time; on a CPU the longest first.
    workers = 1 if ways is ON_GPU else os.cpu_count() or 1
    pool = ThreadPoolExecutor(workers)
    pending = {}
    for family, way in sorted(wanted, key=lambda pair: (list(ways).index(pair[1]), pair[0]), reverse=True):
        if missing(ways[way].mode) or (ways[way].before and shutil.which(ways[way].before[0]) is None):
            continue
        file = family_cases(family, ways[way].mode)[1]
        pending[family, way] = pool.submit(run, builds(ways[way].mode), file, ways[way])

    def get(family, way):
        if (family, way) not in pending:
            pytest.skip(missing(ways[way].mode) or f"needs {ways[way].before[0]}")
        return pending[family, way].result()

    yield get
    pool.shutdown(cancel_futures=True)


def _bitwise(config):
    """Pairs of ways whose results must be equal bit by bit: each with the first of its mode."""
    first, pairs = {}, []
    for name, way in _ways(config).items():
        if not way.before and first.setdefault(way.mode, name) != name:
            pairs.append((first[way.mode], name))
    return pairs


@pytest.mark.native
def test_right(runs, family_cases, family, way, request):
    found, _ = family_cases(family, _ways(request.config)[way].mode)
    done = runs(family, way)
    assert not done.crash, done.crash
    emulated = _ways(request.config) is EMULATED
    assert not (wrong := cases.problems(found, done.results, kernels=emulated)), "\n".join(wrong)


@pytest.mark.native
def test_bits_depend_on_sizes_only(runs, family, request):
    reasons = [missing(_ways(request.config)[first].mode) for first, _ in _bitwise(request.config)]
    if all(reasons):
        pytest.skip(reasons[0])
    for (first, other), reason in zip(_bitwise(request.config), reasons, strict=True):
        if reason:
            continue
        bits, again = (
            {name: result["bits"] for name, result in runs(family, way).results.items()} for way in (first, other)
        )
        different = [name for name in bits.keys() & again.keys() if bits[name] != again[name]]
        assert not different, f"{first} and {other} differ in {different}"


@pytest.mark.slow
def test_names_are_unique(family):
    names = [case.name for case in cases_of(family)]
    assert not (twice := {name for name in names if names.count(name) > 1}), twice
    assert not (strange := [name for name in names if not name.startswith(f"{family}/")]), strange


def test_what_a_crash_leaves_is_read(tmp_path):
    runner = tmp_path / "runner"
    runner.write_text("""#!/bin/sh
echo '{"name": "a/1", "problem": null, "error": 1.79769e+308, "bits": "1", "kernels": ["k<1>"]}'
echo '{"name": "said by a kernel"'
printf '{"name": "a/2", "problem": null, "error": 0, "bits": "2", "kernels": ["k<{1}'
kill -SEGV $$
""")
    runner.chmod(0o755)
    done = run(tmp_path, tmp_path / "none", Way("plain"))
    assert list(done.results) == ["a/1"] and done.results["a/1"]["kernels"] == ["k<1>"]
    assert done.crash.startswith("status -11")

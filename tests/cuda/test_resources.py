"""Registers, spills, shared memory and occupancy of every kernel on every architecture, against budget.json."""

import dataclasses
import json
import shutil
import subprocess

import pytest
import resources
from cuobjdump import cuobjdump
from resources import BUDGET, Resources, Usage, budget_of, problems
from runners import build, missing

from fimo_fast.ops.native import _C


def _usage(**changes):
    return dataclasses.replace(Usage(registers=64, stack=0, shared=0), **changes)


def _kernel(threads=256, shared=40_000, **changes):
    usage = {name: _usage(**changes) for name in ("sm_80", "sm_90a", "sm_100")}
    return Resources(usage, threads, shared)


def _entry(**changes):
    return {
        "threads": 256,
        "registers": 64,
        "shared": 40_000,
        "blocks": {"sm_80": 3, "sm_90a": 4, "sm_100": 4},
    } | changes


@pytest.fixture(scope="module")
def found(request):
    """The resources of all kernels, compiled for all architectures."""
    if not _C.build_info()["cuda"]:
        pytest.skip("built without CUDA")
    if reason := missing("plain"):
        pytest.skip(reason)
    cuobjdump()  # a test dependency: missing is an error
    runner = build(request.config.cache.mkdir("cuda-plain"), "plain") / "runner"
    return resources.resources(resources.release_build(request.config.cache.mkdir("cuda-release")), runner)


@pytest.mark.native
def test_all_kernels_are_within_their_budget(found):
    wrong = problems(found, json.loads(BUDGET.read_text()))
    assert not wrong, "\n".join([*wrong, "(python tests/cuda/resources.py --write, if it is meant)"])


@pytest.mark.native
def test_all_families_are_there(found):
    names = {name.split("<")[0] for name in found}
    assert names >= {
        "signs_kernel",
        "normal_kernel",
        "sjlt_kernel",
        "srht_kernel",
        "mask_kernel",
        "product_kernel",
        "topk_product_kernel",
        "pair_dot_kernel",
        "pair_norm_kernel",
        "tensor_kernel",
        "form_tile_kernel",
    }
    assert all(set(kernel.usage) == {"sm_80", "sm_90a", "sm_100"} for kernel in found.values())


@pytest.mark.parametrize(
    ("kernel", "entry", "said"),
    [
        (_kernel(stack=8), _entry(), "8 bytes of stack"),
        (_kernel(registers=65), _entry(), "65 registers, budget 64"),
        (
            _kernel(registers=65),
            _entry(registers={"sm_80": 72, "sm_90a": 64, "sm_100": 72}),
            "k for sm_90a: 65 registers",
        ),
        (_kernel(shared=41_000), _entry(), "shared 41000, budget 40000"),
        (_kernel(shared=0, **{}), _entry(shared=0, blocks=5), "4 blocks at once, budget at least 5"),
        (_kernel(threads=512), _entry(), "threads 512, budget 256"),
        (_kernel(threads=0), _entry(), "no case launches it"),
    ],
)
def test_each_excess_is_named(kernel, entry, said):
    wrong = problems({"k": kernel}, {"k": entry})
    assert wrong and any(said in line for line in wrong), wrong
    assert not problems({"k": _kernel()}, {"k": _entry()})


def test_every_kernel_has_one_budget_and_every_budget_a_kernel():
    assert problems({"k<float>": _kernel()}, {}) == ["k<float>: expected one entry of the budget, found []"]
    two = problems({"k<float>": _kernel()}, {"k<*>": _entry(), "k<float>": _entry()})
    assert two == ["k<float>: expected one entry of the budget, found ['k<*>', 'k<float>']"]
    assert problems({}, {"k": _entry()}) == ["k: a budget without a kernel"]


def test_what_is_written_is_kept():
    found = {"k<float, 4>": _kernel(), "k<__half, 4>": _kernel(registers=60), "other": _kernel(threads=0)}
    budget = budget_of(found)
    assert budget["k<*, 4>"]["registers"] == 64
    assert not problems(found, budget)  # a kernel that nobody launched when it was written has no threads


@pytest.mark.parametrize(
    ("limits", "blocks"),
    # Known cases of CUDA's occupancy calculator for 9.0: by threads, by registers, by shared memory, none.
    [
        ((256, 32, 0), 8),
        ((1024, 32, 0), 2),
        ((256, 64, 0), 4),
        ((256, 255, 0), 1),
        ((128, 16, 74_000), 3),
        ((32, 16, 0), 32),
        ((256, 256, 0), 0),
        ((256, 32, 240_000), 0),
        ((2048, 32, 0), 0),
    ],
)
def test_occupancy(limits, blocks):
    assert resources.ARCHITECTURES["sm_90a"].blocks_at_once(*limits) == blocks


@pytest.mark.native
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_a_spill_is_seen(tmp_path):
    source = tmp_path / "spills.cu"
    source.write_text(
        "__global__ void spills(float* x) {\n"
        "  float v[64];\n"
        "  for (int i = 0; i < 64; ++i) v[i] = x[i * 64 + threadIdx.x];\n"
        "  __syncthreads();\n"
        "  for (int i = 0; i < 64; ++i) x[i] = v[i] * v[63 - i];\n"
        "}\n"
    )
    stacks = {}
    for registers in (24, 128):
        command = [
            "nvcc",
            "-c",
            "-arch=sm_90a",
            f"-maxrregcount={registers}",
            source,
            "-o",
            tmp_path / "spills.o",
        ]
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
        (usage,) = resources.compiled(tmp_path / "spills.o").values()
        stacks[registers] = usage["sm_90a"].stack
    assert stacks[24] > 0 and stacks[128] == 0

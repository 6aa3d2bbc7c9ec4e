"""The ops on a GPU: streams, graphs, compilation and devices. Skipped without one, and rehearsed as test_gpu.py is."""

import threading

import pytest
import torch

from fimo_fast import ops
from fimo_fast.sketch import SRHT
from fimo_fast.testing import assert_same_bits
from gpu.calls import CALLS, DIM, ON_A_GPU, assert_right, every_call, inputs, results, same_bits

pytestmark = ON_A_GPU


@every_call
def test_graphs_see_inputs_that_changed(name):
    call, static, others = CALLS[name], inputs(name), inputs(name, seed=1)
    expected = [call.run(*static), call.run(*others)]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call.run(*static)  # loads the kernels
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = call.run(*static)
    graph.replay()
    same_bits(captured, expected[0])
    for ours, theirs in zip(static, others, strict=True):
        ours.copy_(theirs)
    for _ in range(2):
        for x in results(captured):
            x.zero_()
        graph.replay()
        same_bits(captured, expected[1])


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("name", {call.op: name for name, call in CALLS.items()}.values())
def test_compiled(name, backend):
    if backend == "inductor":
        pytest.importorskip("triton", reason="needs triton, for torch.compile's default backend")
    torch._dynamo.reset()
    tensors = inputs(name)

    def doubled(*given):
        return tuple(2 * x for x in results(CALLS[name].run(*given)))

    # Twice a float32 is exact, so the bits must be those of the op alone.
    same_bits(torch.compile(doubled, fullgraph=True, backend=backend)(*tensors), doubled(*tensors))


def test_compiled_for_any_batch():
    torch._dynamo.reset()
    sketch = SRHT(DIM, 1000, 4)
    compiled = torch.compile(
        lambda grads: ops.project(grads, sketch), fullgraph=True, dynamic=True, backend="aot_eager"
    )
    for rows in (3, 5, 17):
        grads = torch.randn(rows, DIM, device="cuda")
        assert_same_bits(compiled(grads), ops.project(grads, sketch))


@every_call
def test_work_is_on_the_callers_stream(name):
    call, tensors = CALLS[name], inputs(name)
    expected = call.run(*tensors)
    late, side = [torch.zeros_like(x) for x in tensors], torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)  # on any other stream the kernels would see zeros
        for ours, theirs in zip(late, tensors, strict=True):
            ours.copy_(theirs)
        found = call.run(*late)
    side.synchronize()
    same_bits(found, expected)


def test_two_threads_on_two_streams():
    name = "project SRHT1000"
    given = [inputs(name, seed=seed) for seed in range(2)]
    expected = [CALLS[name].run(*tensors) for tensors in given]
    torch.cuda.synchronize()
    found, errors = [None, None], []

    def work(which):
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                for _ in range(20):
                    found[which] = CALLS[name].run(*given[which])
                torch.cuda.current_stream().synchronize()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    for ours, theirs in zip(found, expected, strict=True):
        same_bits(ours, theirs)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@every_call
def test_tensors_run_where_they_are(name):
    tensors = CALLS[name].tensors(torch.float32, 0)
    for device in ("cuda:1", "cuda:0"):
        found = CALLS[name].run(*(x.to(device) for x in tensors))
        assert all(x.device == torch.device(device) for x in results(found)) and torch.cuda.current_device() == 0
        assert_right(name, found, tensors)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_devices_are_not_mixed():
    x = torch.randn(2, 8)
    with pytest.raises(ValueError, match="features: expected device cuda:0 like queries, got cuda:1"):
        ops.scores(x.to("cuda:0"), x.to("cuda:1"))


@every_call
def test_modes_of_torch_change_nothing(name):
    tensors = inputs(name)
    expected = CALLS[name].run(*tensors)
    with torch.inference_mode():
        same_bits(CALLS[name].run(*tensors), expected)
    with torch.autocast("cuda", torch.bfloat16):
        same_bits(CALLS[name].run(*tensors), expected)

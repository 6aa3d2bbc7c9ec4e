// SPDX-License-Identifier: Apache-2.0
// The functions for CUDA memory. As those of module.cpp, with `allocate` and `stream` in place of the number of threads:
// allocate(bytes) returns an array of so many uint8 on the device of the arguments, the workspace. It may be freed in the order
// of the stream as soon as the call returns; kernels may still run then.
#include "bindings/cuda.h"

#include <pybind11/stl.h>

#include "bindings/calls.h"
#include "fimo_fast/cuda.h"

namespace fimo::bindings {
namespace {

CallCounts counts;

/// Calls operation(queue) with a workspace of measured() bytes on the device of `out`, without the GIL.
template <class Measured, class Operation>
void run(Op op, const TensorArg& out, const py::function& allocate, std::uint64_t stream, const Measured& measured,
         const Operation& operation) {
  cuda::Queue queue;
  queue.device = out.device();
  queue.stream = reinterpret_cast<void*>(static_cast<std::uintptr_t>(stream));
  queue.workspace_bytes = measured();
  py::object memory;
  std::optional<TensorArg> workspace;
  if (queue.workspace_bytes > 0) {
    memory = allocate(queue.workspace_bytes);
    workspace.emplace(memory, "workspace", 1, Memory::kCuda, TensorArg::kWrite);
    out.must_be_beside(*workspace);
    if (!is(workspace->raw_dtype(), dlpack::kUInt, 8) || workspace->shape(0) < queue.workspace_bytes) {
      throw py::value_error("workspace: expected " + std::to_string(queue.workspace_bytes) + " uint8, got " +
                            std::to_string(workspace->shape(0)) + " " + describe(workspace->raw_dtype()));
    }
    queue.workspace = workspace->data();
  }
  {
    const py::gil_scoped_release release;
    operation(queue);
  }
  counts.count(op);
}

void project(py::handle grads, const std::string& kind, std::int64_t input_dim, std::int64_t sketch_dim, std::uint64_t seed,
             std::int64_t nonzeros, std::int64_t offset, py::handle out, const py::function& allocate, std::uint64_t stream) {
  const ProjectCall call(Memory::kCuda, grads, {sketch_kind(kind), input_dim, sketch_dim, seed, nonzeros}, out);
  run(
      Op::project, call.out_arg, allocate, stream,
      [&] { return cuda::project_workspace(call.grads, call.sketch, offset, call.out); },
      [&](const cuda::Queue& queue) { cuda::project(call.grads, call.sketch, offset, call.out, queue); });
}

void outer_project(py::handle a, py::handle delta, const std::string& kinds, const std::vector<std::int64_t>& numbers,
                   std::optional<std::int64_t> offset, py::handle out, const py::function& allocate, std::uint64_t stream) {
  const OuterProjectCall call(Memory::kCuda, a, delta, kinds, numbers, out);
  run(
      Op::outer_project, call.out_arg, allocate, stream,
      [&] { return cuda::outer_project_workspace(call.a, call.delta, call.sketch, call.then, offset, call.out); },
      [&](const cuda::Queue& queue) {
        cuda::outer_project(call.a, call.delta, call.sketch, call.then, offset, call.out, queue);
      });
}

void rows_project(py::handle index, py::handle delta, const std::string& kind, std::int64_t input_dim, std::int64_t sketch_dim,
                  std::uint64_t seed, std::int64_t nonzeros, std::int64_t offset, py::handle out, const py::function& allocate,
                  std::uint64_t stream) {
  const RowsProjectCall call(Memory::kCuda, index, delta, {sketch_kind(kind), input_dim, sketch_dim, seed, nonzeros}, out);
  run(
      Op::rows_project, call.out_arg, allocate, stream,
      [&] { return cuda::rows_project_workspace(call.index, call.delta, call.sketch, offset, call.out); },
      [&](const cuda::Queue& queue) { cuda::rows_project(call.index, call.delta, call.sketch, offset, call.out, queue); });
}

void outer_dot(py::handle a, py::handle delta, py::handle a2, py::handle delta2, py::handle out, const py::function& allocate,
               std::uint64_t stream) {
  const OuterDotCall call(Memory::kCuda, a, delta, a2, delta2, out);
  run(
      Op::outer_dot, call.out_arg, allocate, stream,
      [&] { return cuda::outer_dot_workspace(call.a, call.delta, call.a2, call.delta2, call.out); },
      [&](const cuda::Queue& queue) { cuda::outer_dot(call.a, call.delta, call.a2, call.delta2, call.out, queue); });
}

void outer_norm2(py::handle a, py::handle delta, py::handle out, const py::function& allocate, std::uint64_t stream) {
  const OuterNorm2Call call(Memory::kCuda, a, delta, out);
  run(
      Op::outer_norm2, call.out_arg, allocate, stream,
      [&] { return cuda::outer_norm2_workspace(call.a, call.delta, call.out); },
      [&](const cuda::Queue& queue) { cuda::outer_norm2(call.a, call.delta, call.out, queue); });
}

void scores(py::handle queries, py::handle features, py::handle query_scales, py::handle feature_scales, py::handle out,
            const py::function& allocate, std::uint64_t stream) {
  const ScoresCall call(Memory::kCuda, queries, features, query_scales, feature_scales, out);
  run(
      Op::scores, call.out_arg, allocate, stream,
      [&] { return cuda::scores_workspace(call.queries, call.features, call.out, call.scales); },
      [&](const cuda::Queue& queue) { cuda::scores(call.queries, call.features, call.out, queue, call.scales); });
}

void topk(py::handle queries, py::handle features, std::int64_t k, py::handle query_scales, py::handle feature_scales,
          py::handle values, py::handle indices, const py::function& allocate, std::uint64_t stream) {
  const TopkCall call(Memory::kCuda, queries, features, query_scales, feature_scales, values, indices);
  run(
      Op::topk, call.values_arg, allocate, stream,
      [&] { return cuda::topk_workspace(call.queries, call.features, k, call.values, call.scales); },
      [&](const cuda::Queue& queue) {
        cuda::topk(call.queries, call.features, k, call.values, call.indices, queue, call.scales);
      });
}

}  // namespace

void bind_cuda(py::module_& m) {
  m.attr("cuda_max_topk") = cuda::kMaxTopk;
  m.def("cuda_project", &project, py::arg("grads"), py::arg("kind"), py::arg("input_dim"), py::arg("sketch_dim"),
        py::arg("seed"), py::arg("nonzeros"), py::arg("offset"), py::arg("out"), py::arg("allocate"), py::arg("stream"));
  m.def("cuda_outer_project", &outer_project, py::arg("a"), py::arg("delta"), py::arg("kinds"), py::arg("numbers"),
        py::arg("offset"), py::arg("out"), py::arg("allocate"), py::arg("stream"));
  m.def("cuda_rows_project", &rows_project, py::arg("index"), py::arg("delta"), py::arg("kind"), py::arg("input_dim"),
        py::arg("sketch_dim"), py::arg("seed"), py::arg("nonzeros"), py::arg("offset"), py::arg("out"), py::arg("allocate"),
        py::arg("stream"));
  m.def("cuda_outer_dot", &outer_dot, py::arg("a"), py::arg("delta"), py::arg("a2"), py::arg("delta2"), py::arg("out"),
        py::arg("allocate"), py::arg("stream"));
  m.def("cuda_outer_norm2", &outer_norm2, py::arg("a"), py::arg("delta"), py::arg("out"), py::arg("allocate"),
        py::arg("stream"));
  m.def("cuda_scores", &scores, py::arg("queries"), py::arg("features"), py::arg("query_scales"), py::arg("feature_scales"),
        py::arg("out"), py::arg("allocate"), py::arg("stream"));
  m.def("cuda_topk", &topk, py::arg("queries"), py::arg("features"), py::arg("k"), py::arg("query_scales"),
        py::arg("feature_scales"), py::arg("values"), py::arg("indices"), py::arg("allocate"), py::arg("stream"));
  m.def("cuda_calls", [] { return counts.get(); });
}

}  // namespace fimo::bindings

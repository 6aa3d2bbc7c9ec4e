// SPDX-License-Identifier: Apache-2.0
// fimo_fast._C: check the arguments, release the GIL, call. CUDA is in cuda.cpp. Types are in fimo_fast/_C.pyi.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bindings/calls.h"
#include "bindings/cuda.h"
#include "fimo_fast/build_info.h"
#include "fimo_fast/outer.h"
#include "fimo_fast/outer_project.h"
#include "fimo_fast/random.h"
#include "fimo_fast/rows_project.h"
#include "fimo_fast/score.h"
#include "fimo_fast/sketch.h"

namespace fimo::bindings {
namespace {

CallCounts counts;

Sketch sketch_of(const std::string& kind, std::int64_t input_dim, std::int64_t sketch_dim, std::uint64_t seed,
                 std::int64_t nonzeros) {
  return {sketch_kind(kind), input_dim, sketch_dim, seed, nonzeros};
}

/// Calls operation() without the GIL.
template <class Operation>
void run(Op op, int num_threads, const Operation& operation) {
  if (num_threads < 1) throw py::value_error("num_threads: expected at least 1, got " + std::to_string(num_threads));
  {
    const py::gil_scoped_release release;
    operation();
  }
  counts.count(op);
}

void project(py::handle grads, const std::string& kind, std::int64_t input_dim, std::int64_t sketch_dim, std::uint64_t seed,
             std::int64_t nonzeros, std::int64_t offset, py::handle out, int num_threads) {
  const ProjectCall call(Memory::kCpu, grads, sketch_of(kind, input_dim, sketch_dim, seed, nonzeros), out);
  run(Op::project, num_threads, [&] { fimo::project(call.grads, call.sketch, offset, call.out, num_threads); });
}

void outer_project(py::handle a, py::handle delta, const std::string& kinds, const std::vector<std::int64_t>& numbers,
                   std::optional<std::int64_t> offset, py::handle out, int num_threads) {
  const OuterProjectCall call(Memory::kCpu, a, delta, kinds, numbers, out);
  run(Op::outer_project, num_threads,
      [&] { fimo::outer_project(call.a, call.delta, call.sketch, call.then, offset, call.out, num_threads); });
}

void rows_project(py::handle index, py::handle delta, const std::string& kind, std::int64_t input_dim, std::int64_t sketch_dim,
                  std::uint64_t seed, std::int64_t nonzeros, std::int64_t offset, py::handle out, int num_threads) {
  const RowsProjectCall call(Memory::kCpu, index, delta, sketch_of(kind, input_dim, sketch_dim, seed, nonzeros), out);
  run(Op::rows_project, num_threads,
      [&] { fimo::rows_project(call.index, call.delta, call.sketch, offset, call.out, num_threads); });
}

void outer_dot(py::handle a, py::handle delta, py::handle a2, py::handle delta2, py::handle out, int num_threads) {
  const OuterDotCall call(Memory::kCpu, a, delta, a2, delta2, out);
  run(Op::outer_dot, num_threads, [&] { fimo::outer_dot(call.a, call.delta, call.a2, call.delta2, call.out, num_threads); });
}

void outer_norm2(py::handle a, py::handle delta, py::handle out, int num_threads) {
  const OuterNorm2Call call(Memory::kCpu, a, delta, out);
  run(Op::outer_norm2, num_threads, [&] { fimo::outer_norm2(call.a, call.delta, call.out, num_threads); });
}

void scores(py::handle queries, py::handle features, py::handle query_scales, py::handle feature_scales, py::handle out,
            int num_threads) {
  const ScoresCall call(Memory::kCpu, queries, features, query_scales, feature_scales, out);
  run(Op::scores, num_threads, [&] { fimo::scores(call.queries, call.features, call.out, num_threads, call.scales); });
}

void topk(py::handle queries, py::handle features, std::int64_t k, py::handle query_scales, py::handle feature_scales,
          py::handle values, py::handle indices, int num_threads) {
  const TopkCall call(Memory::kCpu, queries, features, query_scales, feature_scales, values, indices);
  run(Op::topk, num_threads,
      [&] { fimo::topk(call.queries, call.features, k, call.values, call.indices, num_threads, call.scales); });
}

py::dict build_info() {
  const BuildInfo info = fimo::build_info();
  py::list devices;
  for (const CudaDevice& device : info.cuda_devices) {
    py::dict entry;
    entry["name"] = device.name;
    entry["capability"] = py::make_tuple(device.major, device.minor);
    devices.append(entry);
  }
  py::dict result;
  result["version"] = info.version;
  result["compiler"] = info.compiler;
  result["openmp"] = info.openmp;
  result["isa"] = current_isa();
  result["isas"] = available_isas();
  result["cuda"] = info.cuda;
  result["cuda_runtime"] = info.cuda_runtime;
  result["cuda_architectures"] = info.cuda_architectures;
  result["cuda_devices"] = devices;
  return result;
}

std::array<std::uint32_t, 4> philox_words(const std::array<std::uint32_t, 4>& counter, std::uint64_t key) {
  const PhiloxBlock block = philox4x32(counter[0], counter[1], counter[2], counter[3], static_cast<std::uint32_t>(key),
                                       static_cast<std::uint32_t>(key >> 32));
  return {block.word[0], block.word[1], block.word[2], block.word[3]};
}

}  // namespace
}  // namespace fimo::bindings

PYBIND11_MODULE(_C, m) {
  using namespace fimo::bindings;
  m.doc() = "Native kernels of fimo_fast. Use fimo_fast.ops; this module checks memory, not meaning.";
  // Chosen here so that a wrong FIMO_FAST_ISA stops the import instead of the first call.
  fimo::current_isa();

  m.def("project", &project, py::arg("grads"), py::arg("kind"), py::arg("input_dim"), py::arg("sketch_dim"), py::arg("seed"),
        py::arg("nonzeros"), py::arg("offset"), py::arg("out"), py::arg("num_threads"));
  m.def("outer_project", &outer_project, py::arg("a"), py::arg("delta"), py::arg("kinds"), py::arg("numbers"),
        py::arg("offset"), py::arg("out"), py::arg("num_threads"));
  m.def("rows_project", &rows_project, py::arg("index"), py::arg("delta"), py::arg("kind"), py::arg("input_dim"),
        py::arg("sketch_dim"), py::arg("seed"), py::arg("nonzeros"), py::arg("offset"), py::arg("out"), py::arg("num_threads"));
  m.def("outer_dot", &outer_dot, py::arg("a"), py::arg("delta"), py::arg("a2"), py::arg("delta2"), py::arg("out"),
        py::arg("num_threads"));
  m.def("outer_dot_forms_gradients", &fimo::outer_dot_forms_gradients, py::arg("batch"), py::arg("tokens"), py::arg("batch2"),
        py::arg("tokens2"), py::arg("n"), py::arg("m"));
  m.def("outer_norm2", &outer_norm2, py::arg("a"), py::arg("delta"), py::arg("out"), py::arg("num_threads"));
  m.def("scores", &scores, py::arg("queries"), py::arg("features"), py::arg("query_scales"), py::arg("feature_scales"),
        py::arg("out"), py::arg("num_threads"));
  m.def("topk", &topk, py::arg("queries"), py::arg("features"), py::arg("k"), py::arg("query_scales"),
        py::arg("feature_scales"), py::arg("values"), py::arg("indices"), py::arg("num_threads"));
  m.def("philox", &philox_words, py::arg("counter"), py::arg("key"));
  m.def("build_info", &build_info);
  m.def("set_isa", &fimo::set_isa, py::arg("isa"));
  m.def("calls", [] { return counts.get(); });
  m.def("reset_calls", [] { counts.reset(); });
#if defined(FIMO_HAS_CUDA)
  bind_cuda(m);
#endif
}

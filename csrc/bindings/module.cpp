// SPDX-License-Identifier: Apache-2.0
// fimo_fast._C, the only file that knows pybind11: check the arguments, release the GIL, call. Types are in fimo_fast/_C.pyi.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bindings/sketch_args.h"
#include "bindings/tensor_view.h"
#include "fimo_fast/build_info.h"
#include "fimo_fast/outer.h"
#include "fimo_fast/outer_project.h"
#include "fimo_fast/random.h"
#include "fimo_fast/rows_project.h"
#include "fimo_fast/score.h"
#include "fimo_fast/sketch.h"

namespace fimo::bindings {
namespace {

/// How often each op ran its kernel, so that tests can tell the kernel from the reference.
enum Op { kProject, kOuterProject, kRowsProject, kOuterDot, kOuterNorm2, kScores, kTopk, kOpCount };
constexpr const char* kOpNames[kOpCount] = {"project",     "outer_project", "rows_project", "outer_dot",
                                            "outer_norm2", "scores",        "topk"};
std::array<std::atomic<std::int64_t>, kOpCount> call_counts{};

void count_call(Op op) { call_counts[op].fetch_add(1, std::memory_order_relaxed); }

int checked_threads(int num_threads) {
  if (num_threads < 1) throw py::value_error("num_threads: expected at least 1, got " + std::to_string(num_threads));
  return num_threads;
}

void project(py::handle grads, const std::string& kind, std::int64_t input_dim, std::int64_t sketch_dim, std::uint64_t seed,
             std::int64_t nonzeros, std::int64_t offset, py::handle out, int num_threads) {
  const TensorArg grads_arg(grads, "grads", 2), out_arg(out, "out", 2, TensorArg::kWrite);
  out_arg.must_not_overlap(grads_arg);
  const Sketch sketch{sketch_kind(kind), input_dim, sketch_dim, seed, nonzeros};
  const ConstMatrixView grads_view = grads_arg.matrix();
  const MatrixView out_view = out_arg.output();
  checked_threads(num_threads);
  {
    const py::gil_scoped_release release;
    fimo::project(grads_view, sketch, offset, out_view, num_threads);
  }
  count_call(kProject);
}

void outer_project(py::handle a, py::handle delta, const std::string& kinds, const std::vector<std::int64_t>& numbers,
                   std::optional<std::int64_t> offset, py::handle out, int num_threads) {
  const TensorArg a_arg(a, "a", {2, 3}), delta_arg(delta, "delta", a_arg.ndim()), out_arg(out, "out", 2, TensorArg::kWrite);
  out_arg.must_not_overlap(a_arg);
  out_arg.must_not_overlap(delta_arg);
  SketchArgs args(kinds, numbers);
  const OuterSketch sketch = args.outer();
  const std::vector<Sketch> then = args.rest();
  const ConstTensor3View a_view = a_arg.tensor3(), delta_view = delta_arg.tensor3();
  const MatrixView out_view = out_arg.output();
  checked_threads(num_threads);
  {
    const py::gil_scoped_release release;
    fimo::outer_project(a_view, delta_view, sketch, then, offset, out_view, num_threads);
  }
  count_call(kOuterProject);
}

void rows_project(py::handle index, py::handle delta, const std::string& kind, std::int64_t input_dim, std::int64_t sketch_dim,
                  std::uint64_t seed, std::int64_t nonzeros, std::int64_t offset, py::handle out, int num_threads) {
  const TensorArg index_arg(index, "index", 2), delta_arg(delta, "delta", 3), out_arg(out, "out", 2, TensorArg::kWrite);
  out_arg.must_not_overlap(index_arg);
  out_arg.must_not_overlap(delta_arg);
  if (!is(index_arg.raw_dtype(), dlpack::kInt, 64)) {
    throw py::type_error("index: expected int64, got " + describe(index_arg.raw_dtype()));
  }
  const Sketch sketch{sketch_kind(kind), input_dim, sketch_dim, seed, nonzeros};
  const ConstIndexView index_view{static_cast<const std::int64_t*>(index_arg.data()), index_arg.shape(0), index_arg.shape(1),
                                  index_arg.stride(0)};
  const ConstTensor3View delta_view = delta_arg.tensor3();
  const MatrixView out_view = out_arg.output();
  checked_threads(num_threads);
  {
    const py::gil_scoped_release release;
    fimo::rows_project(index_view, delta_view, sketch, offset, out_view, num_threads);
  }
  count_call(kRowsProject);
}

void outer_dot(py::handle a, py::handle delta, py::handle a2, py::handle delta2, py::handle out, int num_threads) {
  const TensorArg a_arg(a, "a", {2, 3}), delta_arg(delta, "delta", a_arg.ndim());
  const TensorArg a2_arg(a2, "a2", a_arg.ndim()), delta2_arg(delta2, "delta2", a_arg.ndim());
  const TensorArg out_arg(out, "out", 2, TensorArg::kWrite);
  for (const TensorArg* input : {&a_arg, &delta_arg, &a2_arg, &delta2_arg}) out_arg.must_not_overlap(*input);
  const ConstTensor3View a_view = a_arg.tensor3(), delta_view = delta_arg.tensor3();
  const ConstTensor3View a2_view = a2_arg.tensor3(), delta2_view = delta2_arg.tensor3();
  const MatrixView out_view = out_arg.output();
  checked_threads(num_threads);
  {
    const py::gil_scoped_release release;
    fimo::outer_dot(a_view, delta_view, a2_view, delta2_view, out_view, num_threads);
  }
  count_call(kOuterDot);
}

void outer_norm2(py::handle a, py::handle delta, py::handle out, int num_threads) {
  const TensorArg a_arg(a, "a", {2, 3}), delta_arg(delta, "delta", a_arg.ndim()), out_arg(out, "out", 1, TensorArg::kWrite);
  out_arg.must_not_overlap(a_arg);
  out_arg.must_not_overlap(delta_arg);
  const ConstTensor3View a_view = a_arg.tensor3(), delta_view = delta_arg.tensor3();
  const MatrixView out_view{out_arg.data(), out_arg.dtype(), out_arg.shape(0), 1, 1};
  checked_threads(num_threads);
  {
    const py::gil_scoped_release release;
    fimo::outer_norm2(a_view, delta_view, out_view, num_threads);
  }
  count_call(kOuterNorm2);
}

/// Scales of int8 rows: float32 [rows], or None.
class ScalesArg {
 public:
  ScalesArg(py::handle object, const char* name, const TensorArg& rows) {
    if (object.is_none()) {  // of no rows, too, where the kernels could not tell
      if (is(rows.raw_dtype(), dlpack::kInt, 8)) {
        throw py::type_error(std::string(name) + ": expected float32 [rows of " + rows.name() + "] for int8, got None");
      }
      return;
    }
    arg_.emplace(object, name, 1);
    if (!is(arg_->raw_dtype(), dlpack::kFloat, 32)) {
      throw py::type_error(arg_->name() + ": expected float32, got " + describe(arg_->raw_dtype()));
    }
    if (arg_->shape(0) != rows.shape(0)) {
      throw py::value_error(arg_->name() + ": expected shape [" + std::to_string(rows.shape(0)) + "], one a row of " +
                            rows.name() + ", got [" + std::to_string(arg_->shape(0)) + "]");
    }
  }

  const float* data() const { return arg_ ? static_cast<const float*>(arg_->data()) : nullptr; }
  void must_not_overlap(const TensorArg& output) const {
    if (arg_) output.must_not_overlap(*arg_);
  }

 private:
  std::optional<TensorArg> arg_;
};

void scores(py::handle queries, py::handle features, py::handle query_scales, py::handle feature_scales, py::handle out,
            int num_threads) {
  const TensorArg queries_arg(queries, "queries", 2), features_arg(features, "features", 2);
  const ScalesArg query_scales_arg(query_scales, "query_scales", queries_arg);
  const ScalesArg feature_scales_arg(feature_scales, "feature_scales", features_arg);
  const TensorArg out_arg(out, "out", 2, TensorArg::kWrite);
  for (const TensorArg* input : {&queries_arg, &features_arg}) out_arg.must_not_overlap(*input);
  for (const ScalesArg* input : {&query_scales_arg, &feature_scales_arg}) input->must_not_overlap(out_arg);
  const ConstMatrixView queries_view = queries_arg.matrix_or_int8(), features_view = features_arg.matrix_or_int8();
  const MatrixView out_view = out_arg.output();
  const RowScales scales{query_scales_arg.data(), feature_scales_arg.data()};
  checked_threads(num_threads);
  {
    const py::gil_scoped_release release;
    fimo::scores(queries_view, features_view, out_view, num_threads, scales);
  }
  count_call(kScores);
}

void topk(py::handle queries, py::handle features, std::int64_t k, py::handle query_scales, py::handle feature_scales,
          py::handle values, py::handle indices, int num_threads) {
  const TensorArg queries_arg(queries, "queries", 2), features_arg(features, "features", 2);
  const ScalesArg query_scales_arg(query_scales, "query_scales", queries_arg);
  const ScalesArg feature_scales_arg(feature_scales, "feature_scales", features_arg);
  const TensorArg values_arg(values, "values", 2, TensorArg::kWrite), indices_arg(indices, "indices", 2, TensorArg::kWrite);
  for (const TensorArg* output : {&values_arg, &indices_arg}) {
    for (const TensorArg* input : {&queries_arg, &features_arg}) output->must_not_overlap(*input);
    for (const ScalesArg* input : {&query_scales_arg, &feature_scales_arg}) input->must_not_overlap(*output);
  }
  values_arg.must_not_overlap(indices_arg);
  if (!is(indices_arg.raw_dtype(), dlpack::kInt, 64)) {
    throw py::type_error("indices: expected int64, got " + describe(indices_arg.raw_dtype()));
  }
  if (indices_arg.shape(0) != values_arg.shape(0) || indices_arg.shape(1) != values_arg.shape(1) ||
      (indices_arg.shape(0) > 1 && indices_arg.stride(0) != indices_arg.shape(1))) {
    throw py::value_error("indices: expected a contiguous array of the shape of values");
  }
  const ConstMatrixView queries_view = queries_arg.matrix_or_int8(), features_view = features_arg.matrix_or_int8();
  const MatrixView values_view = values_arg.output();
  auto* indices_data = static_cast<std::int64_t*>(indices_arg.data());
  const RowScales scales{query_scales_arg.data(), feature_scales_arg.data()};
  checked_threads(num_threads);
  {
    const py::gil_scoped_release release;
    fimo::topk(queries_view, features_view, k, values_view, indices_data, num_threads, scales);
  }
  count_call(kTopk);
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

py::dict calls() {
  py::dict counts;
  for (int op = 0; op < kOpCount; ++op) counts[kOpNames[op]] = call_counts[op].load(std::memory_order_relaxed);
  return counts;
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
  m.def("outer_dot_materialises", &fimo::outer_dot_materialises, py::arg("batch"), py::arg("tokens"), py::arg("batch2"),
        py::arg("tokens2"), py::arg("n"), py::arg("m"));
  m.def("outer_norm2", &outer_norm2, py::arg("a"), py::arg("delta"), py::arg("out"), py::arg("num_threads"));
  m.def("scores", &scores, py::arg("queries"), py::arg("features"), py::arg("query_scales"), py::arg("feature_scales"),
        py::arg("out"), py::arg("num_threads"));
  m.def("topk", &topk, py::arg("queries"), py::arg("features"), py::arg("k"), py::arg("query_scales"),
        py::arg("feature_scales"), py::arg("values"), py::arg("indices"), py::arg("num_threads"));
  m.def("philox", &philox_words, py::arg("counter"), py::arg("key"));
  m.def("build_info", &build_info);
  m.def("set_isa", &fimo::set_isa, py::arg("isa"));
  m.def("calls", &calls);
  m.def("reset_calls", [] {
    for (auto& count : call_counts) count.store(0, std::memory_order_relaxed);
  });
}

// SPDX-License-Identifier: Apache-2.0
/// \file
/// The arguments of each operation, checked and turned into views, for the devices that share them. An object is valid while
/// the Python arguments are.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "bindings/sketch_args.h"
#include "bindings/tensor_view.h"
#include "fimo_fast/outer_project.h"
#include "fimo_fast/score.h"
#include "fimo_fast/sketch.h"

namespace fimo::bindings {

/// The ops, by their names in Python.
#define FIMO_FOR_EACH_OP(X) X(project) X(outer_project) X(rows_project) X(outer_dot) X(outer_norm2) X(scores) X(topk)

#define FIMO_ENTRY(op) op,
enum class Op { FIMO_FOR_EACH_OP(FIMO_ENTRY) };
#undef FIMO_ENTRY
#define FIMO_ENTRY(op) #op,
constexpr const char* kOpNames[] = {FIMO_FOR_EACH_OP(FIMO_ENTRY)};
#undef FIMO_ENTRY

/// How often each op ran its kernel, so that tests can tell the kernel from the reference.
class CallCounts {
 public:
  void count(Op op) { counts_[static_cast<int>(op)].fetch_add(1, std::memory_order_relaxed); }
  void reset() {
    for (auto& count : counts_) count.store(0, std::memory_order_relaxed);
  }
  py::dict get() const {
    py::dict result;
    for (std::size_t op = 0; op < counts_.size(); ++op) result[kOpNames[op]] = counts_[op].load(std::memory_order_relaxed);
    return result;
  }

 private:
  std::array<std::atomic<std::int64_t>, std::size(kOpNames)> counts_{};
};

/// Inputs must be where the output is, and apart from it.
inline void check_places(const TensorArg& output, std::initializer_list<const TensorArg*> inputs) {
  for (const TensorArg* input : inputs) {
    output.must_not_overlap(*input);
    output.must_be_beside(*input);
  }
}

inline void must_be_int64(const TensorArg& arg) {
  if (!is(arg.raw_dtype(), dlpack::kInt, 64)) {
    throw py::type_error(arg.name() + ": expected int64, got " + describe(arg.raw_dtype()));
  }
}

struct ProjectCall {
  TensorArg grads_arg, out_arg;
  Sketch sketch;
  ConstMatrixView grads;
  MatrixView out;

  ProjectCall(Memory memory, py::handle grads, const Sketch& sketch, py::handle out)
      : grads_arg(grads, "grads", 2, memory), out_arg(out, "out", 2, memory, TensorArg::kWrite), sketch(sketch) {
    check_places(out_arg, {&grads_arg});
    this->grads = grads_arg.matrix();
    this->out = out_arg.output();
  }
};

struct OuterProjectCall {
  TensorArg a_arg, delta_arg, out_arg;
  OuterSketch sketch;
  std::vector<Sketch> then;
  ConstTensor3View a, delta;
  MatrixView out;

  OuterProjectCall(Memory memory, py::handle a, py::handle delta, const std::string& kinds,
                   const std::vector<std::int64_t>& numbers, py::handle out)
      : a_arg(a, "a", {2, 3}, memory),
        delta_arg(delta, "delta", a_arg.ndim(), memory),
        out_arg(out, "out", 2, memory, TensorArg::kWrite) {
    check_places(out_arg, {&a_arg, &delta_arg});
    SketchArgs args(kinds, numbers);
    sketch = args.outer();
    then = args.rest();
    this->a = a_arg.tensor3();
    this->delta = delta_arg.tensor3();
    this->out = out_arg.output();
  }
};

struct RowsProjectCall {
  TensorArg index_arg, delta_arg, out_arg;
  Sketch sketch;
  ConstIndexView index;
  ConstTensor3View delta;
  MatrixView out;

  RowsProjectCall(Memory memory, py::handle index, py::handle delta, const Sketch& sketch, py::handle out)
      : index_arg(index, "index", 2, memory),
        delta_arg(delta, "delta", 3, memory),
        out_arg(out, "out", 2, memory, TensorArg::kWrite),
        sketch(sketch) {
    check_places(out_arg, {&index_arg, &delta_arg});
    must_be_int64(index_arg);
    this->index = {static_cast<const std::int64_t*>(index_arg.data()), index_arg.shape(0), index_arg.shape(1),
                   index_arg.stride(0)};
    this->delta = delta_arg.tensor3();
    this->out = out_arg.output();
  }
};

struct OuterDotCall {
  TensorArg a_arg, delta_arg, a2_arg, delta2_arg, out_arg;
  ConstTensor3View a, delta, a2, delta2;
  MatrixView out;

  OuterDotCall(Memory memory, py::handle a, py::handle delta, py::handle a2, py::handle delta2, py::handle out)
      : a_arg(a, "a", {2, 3}, memory),
        delta_arg(delta, "delta", a_arg.ndim(), memory),
        a2_arg(a2, "a2", a_arg.ndim(), memory),
        delta2_arg(delta2, "delta2", a_arg.ndim(), memory),
        out_arg(out, "out", 2, memory, TensorArg::kWrite) {
    check_places(out_arg, {&a_arg, &delta_arg, &a2_arg, &delta2_arg});
    this->a = a_arg.tensor3();
    this->delta = delta_arg.tensor3();
    this->a2 = a2_arg.tensor3();
    this->delta2 = delta2_arg.tensor3();
    this->out = out_arg.output();
  }
};

struct OuterNorm2Call {
  TensorArg a_arg, delta_arg, out_arg;
  ConstTensor3View a, delta;
  MatrixView out;

  OuterNorm2Call(Memory memory, py::handle a, py::handle delta, py::handle out)
      : a_arg(a, "a", {2, 3}, memory),
        delta_arg(delta, "delta", a_arg.ndim(), memory),
        out_arg(out, "out", 1, memory, TensorArg::kWrite) {
    check_places(out_arg, {&a_arg, &delta_arg});
    this->a = a_arg.tensor3();
    this->delta = delta_arg.tensor3();
    this->out = {out_arg.data(), out_arg.dtype(), out_arg.shape(0), 1, 1};
  }
};

/// Scales of int8 rows: float32 [rows], or None.
class ScalesArg {
 public:
  ScalesArg(py::handle object, const char* name, const TensorArg& rows, Memory memory) {
    if (object.is_none()) {  // of no rows, too, where the kernels could not tell
      if (is(rows.raw_dtype(), dlpack::kInt, 8)) {
        throw py::type_error(std::string(name) + ": expected float32 [rows of " + rows.name() + "] for int8, got None");
      }
      return;
    }
    arg_.emplace(object, name, 1, memory);
    if (!is(arg_->raw_dtype(), dlpack::kFloat, 32)) {
      throw py::type_error(arg_->name() + ": expected float32, got " + describe(arg_->raw_dtype()));
    }
    if (arg_->shape(0) != rows.shape(0)) {
      throw py::value_error(arg_->name() + ": expected shape [" + std::to_string(rows.shape(0)) + "], one a row of " +
                            rows.name() + ", got [" + std::to_string(arg_->shape(0)) + "]");
    }
  }

  const float* data() const { return arg_ ? static_cast<const float*>(arg_->data()) : nullptr; }
  void check_place(const TensorArg& output) const {
    if (arg_) check_places(output, {&*arg_});
  }

 private:
  std::optional<TensorArg> arg_;
};

/// What scores and topk take.
struct ScoreInputs {
  TensorArg queries_arg, features_arg;
  ScalesArg query_scales_arg, feature_scales_arg;
  ConstMatrixView queries, features;
  RowScales scales;

  ScoreInputs(Memory memory, py::handle queries, py::handle features, py::handle query_scales, py::handle feature_scales)
      : queries_arg(queries, "queries", 2, memory),
        features_arg(features, "features", 2, memory),
        query_scales_arg(query_scales, "query_scales", queries_arg, memory),
        feature_scales_arg(feature_scales, "feature_scales", features_arg, memory),
        queries(queries_arg.matrix_or_int8()),
        features(features_arg.matrix_or_int8()),
        scales{query_scales_arg.data(), feature_scales_arg.data()} {}

  void check_place(const TensorArg& output) const {
    check_places(output, {&queries_arg, &features_arg});
    query_scales_arg.check_place(output);
    feature_scales_arg.check_place(output);
  }
};

struct ScoresCall : ScoreInputs {
  TensorArg out_arg;
  MatrixView out;

  ScoresCall(Memory memory, py::handle queries, py::handle features, py::handle query_scales, py::handle feature_scales,
             py::handle out)
      : ScoreInputs(memory, queries, features, query_scales, feature_scales),
        out_arg(out, "out", 2, memory, TensorArg::kWrite),
        out(out_arg.output()) {
    check_place(out_arg);
  }
};

struct TopkCall : ScoreInputs {
  TensorArg values_arg, indices_arg;
  MatrixView values;
  std::int64_t* indices;

  TopkCall(Memory memory, py::handle queries, py::handle features, py::handle query_scales, py::handle feature_scales,
           py::handle values, py::handle indices)
      : ScoreInputs(memory, queries, features, query_scales, feature_scales),
        values_arg(values, "values", 2, memory, TensorArg::kWrite),
        indices_arg(indices, "indices", 2, memory, TensorArg::kWrite),
        values(values_arg.output()),
        indices(static_cast<std::int64_t*>(indices_arg.data())) {
    check_place(values_arg);
    check_place(indices_arg);
    values_arg.must_not_overlap(indices_arg);
    must_be_int64(indices_arg);
    if (indices_arg.shape(0) != values_arg.shape(0) || indices_arg.shape(1) != values_arg.shape(1) ||
        (indices_arg.shape(0) > 1 && indices_arg.stride(0) != indices_arg.shape(1))) {
      throw py::value_error("indices: expected a contiguous array of the shape of values");
    }
  }
};

}  // namespace fimo::bindings

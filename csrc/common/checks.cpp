// SPDX-License-Identifier: Apache-2.0
#include "common/checks.h"

#include <variant>

namespace fimo {
namespace {

constexpr std::int64_t kMaxMaskDim = std::int64_t{1} << 32;  // positions are held in 32 bits

void check_factors(const ConstTensor3View& a, const ConstTensor3View& delta, const char* a_name, const char* delta_name) {
  require(delta.dtype == a.dtype, delta_name, ": expected ", dtype_name(a.dtype), " like ", a_name, ", got ",
          dtype_name(delta.dtype));
  require(delta.batch == a.batch && delta.tokens == a.tokens, delta_name, ": expected shape [", a.batch, ", ", a.tokens,
          ", *] like ", a_name, ", got [", delta.batch, ", ", delta.tokens, ", ", delta.dim, "]");
}

/// Where a slice of a sketch's input begins.
void check_offset(std::int64_t offset, std::int64_t input_dim) {
  require(offset >= 0 && offset <= input_dim, "offset: expected 0 to input_dim = ", input_dim, ", got ", offset);
}

void check_dim(const char* name, std::int64_t expected, const char* like, std::int64_t got) {
  require(got == expected, "sketch: expected ", name, " ", expected, " (", like, "), got ", got);
}

void check(const OuterSketch& sketch, std::int64_t n, std::int64_t m, std::optional<std::int64_t> offset) {
  require(!offset || std::holds_alternative<Sketch>(sketch),
          "offset: expected none for a sketch of the factors, which has no columns for a slice of a longer vector");
  if (const auto* factored = std::get_if<FactoredSketch>(&sketch)) {
    validate(factored->a);
    validate(factored->delta);
    check_dim("a.input_dim", n, "the last dimension of a", factored->a.input_dim);
    check_dim("delta.input_dim", m, "the last dimension of delta", factored->delta.input_dim);
    require(sketch_dim(sketch) <= kMaxSketchDim, "sketch: expected a.sketch_dim * delta.sketch_dim up to 2^30, got ",
            factored->a.sketch_dim, " * ", factored->delta.sketch_dim);
  } else if (const auto* tensor = std::get_if<TensorSketch>(&sketch)) {
    const std::int64_t k = tensor->sketch_dim;
    require(k >= 1 && k <= kMaxSketchDim && (k & (k - 1)) == 0, "sketch_dim: expected a power of two up to 2^30, got ", k);
    check_dim("a_dim", n, "the last dimension of a", tensor->a_dim);
    check_dim("delta_dim", m, "the last dimension of delta", tensor->delta_dim);
  } else {
    const Sketch& vector = std::get<Sketch>(sketch);
    validate(vector);
    // Not n * m, which may overflow.
    if (offset) {
      check_offset(*offset, vector.input_dim);
      require(n == 0 || m <= (vector.input_dim - *offset) / n, "sketch: expected input_dim of at least offset + ", m, " * ", n,
              " (the last dimensions of delta and a), got ", vector.input_dim, " and offset ", *offset);
    } else {
      require(n > 0 && vector.input_dim % n == 0 && vector.input_dim / n == m, "sketch: expected input_dim ", m, " * ", n,
              " (the last dimensions of delta and a), got ", vector.input_dim);
    }
    require(vector.kind != SketchKind::kMask || (n <= kMaxMaskDim && m <= kMaxMaskDim),
            "sketch: expected last dimensions up to 2^32 for a mask, got ", n, " and ", m);
  }
}

}  // namespace

void check_out(const MatrixView& out, std::int64_t rows, std::int64_t cols, DType dtype) {
  require(out.rows == rows && out.cols == cols, "out: expected shape [", rows, ", ", cols, "], got [", out.rows, ", ", out.cols,
          "]");
  require(out.dtype == accumulator_dtype(dtype), "out: expected ", dtype_name(accumulator_dtype(dtype)), ", got ",
          dtype_name(out.dtype));
}

void validate(const Sketch& sketch) {
  require(sketch.input_dim >= 1 && sketch.input_dim <= kMaxInputDim, "input_dim: expected 1 to 2^48, got ", sketch.input_dim);
  require(sketch.sketch_dim >= 1 && sketch.sketch_dim <= kMaxSketchDim, "sketch_dim: expected 1 to 2^30, got ",
          sketch.sketch_dim);
  require(sketch.kind != SketchKind::kMask || sketch.sketch_dim <= sketch.input_dim,
          "sketch_dim: expected at most input_dim = ", sketch.input_dim, " for a mask, got ", sketch.sketch_dim);
  if (sketch.kind == SketchKind::kSjlt) {
    const std::int64_t most = smaller(sketch.sketch_dim, kMaxNonzeros);
    require(sketch.nonzeros >= 1 && sketch.nonzeros <= most, "nonzeros: expected 1 to ", most, " (at most sketch_dim), got ",
            sketch.nonzeros);
  } else {
    require(sketch.nonzeros == 0, "nonzeros: expected 0 for a sketch that is not an SJLT, got ", sketch.nonzeros);
  }
}

std::int64_t sketch_dim(const OuterSketch& sketch) {
  if (const auto* factored = std::get_if<FactoredSketch>(&sketch)) return factored->a.sketch_dim * factored->delta.sketch_dim;
  if (const auto* tensor = std::get_if<TensorSketch>(&sketch)) return tensor->sketch_dim;
  return std::get<Sketch>(sketch).sketch_dim;
}

void check_project(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out) {
  validate(sketch);
  check_offset(offset, sketch.input_dim);
  require(grads.cols <= sketch.input_dim - offset, "grads: expected at most input_dim - offset = ", sketch.input_dim - offset,
          " columns, got ", grads.cols);
  require(out.rows == grads.rows && out.cols == sketch.sketch_dim, "out: expected shape [", grads.rows, ", ", sketch.sketch_dim,
          "], got [", out.rows, ", ", out.cols, "]");
  require(out.dtype == accumulator_dtype(grads.dtype), "out: expected ", dtype_name(accumulator_dtype(grads.dtype)), " for ",
          dtype_name(grads.dtype), " grads, got ", dtype_name(out.dtype));
}

void check_outer_project(const ConstTensor3View& a, const ConstTensor3View& delta, const OuterSketch& sketch,
                         const std::vector<Sketch>& then, std::optional<std::int64_t> offset, const MatrixView& out) {
  check_factors(a, delta, "a", "delta");
  check(sketch, a.dim, delta.dim, offset);
  std::int64_t k = sketch_dim(sketch);
  for (const Sketch& next : then) {
    validate(next);
    require(next.input_dim == k, "then: expected input_dim ", k, " like the sketch before it, got ", next.input_dim);
    k = next.sketch_dim;
  }
  check_out(out, a.batch, k, a.dtype);
}

void check_rows_project(const ConstIndexView& index, const ConstTensor3View& delta, const Sketch& sketch, std::int64_t offset,
                        const MatrixView& out) {
  validate(sketch);
  check_offset(offset, sketch.input_dim);
  require(delta.dtype != DType::kInt8, "delta: expected float32, float64, bfloat16 or float16, got int8");
  require(index.batch == delta.batch && index.tokens == delta.tokens, "index: expected shape [", delta.batch, ", ",
          delta.tokens, "] like delta, got [", index.batch, ", ", index.tokens, "]");
  check_out(out, delta.batch, sketch.sketch_dim, delta.dtype);
}

void check_outer_dot(const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2,
                     const ConstTensor3View& delta2, const MatrixView& out) {
  check_factors(a, delta, "a", "delta");
  check_factors(a2, delta2, "a2", "delta2");
  require(a2.dtype == a.dtype, "a2: expected ", dtype_name(a.dtype), " like a, got ", dtype_name(a2.dtype));
  require(a2.dim == a.dim, "a2: expected last dimension ", a.dim, " like a, got ", a2.dim);
  require(delta2.dim == delta.dim, "delta2: expected last dimension ", delta.dim, " like delta, got ", delta2.dim);
  check_out(out, a.batch, a2.batch, a.dtype);
}

void check_outer_norm2(const ConstTensor3View& a, const ConstTensor3View& delta, const MatrixView& out) {
  check_factors(a, delta, "a", "delta");
  check_out(out, a.batch, 1, a.dtype);
}

void check_score_inputs(const ConstMatrixView& queries, const ConstMatrixView& features, const RowScales& scales) {
  require(features.dtype == queries.dtype, "features: expected ", dtype_name(queries.dtype), " like queries, got ",
          dtype_name(features.dtype));
  require(features.cols == queries.cols, "features: expected ", queries.cols, " columns like queries, got ", features.cols);
  const bool scaled = queries.dtype == DType::kInt8;
  require((scales.queries != nullptr) == scaled || queries.rows == 0, "query_scales: expected ", scaled ? "one a row" : "none",
          " for ", dtype_name(queries.dtype), ", got ", scaled ? "none" : "some");
  require((scales.features != nullptr) == scaled || features.rows == 0, "feature_scales: expected ",
          scaled ? "one a row" : "none", " for ", dtype_name(queries.dtype), ", got ", scaled ? "none" : "some");
}

void check_topk(const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k, const MatrixView& values,
                const RowScales& scales) {
  check_score_inputs(queries, features, scales);
  require(k >= 1 && k <= features.rows, "k: expected 1 to the number of features = ", features.rows, ", got ", k);
  require(values.rows == queries.rows && values.cols == k, "values: expected shape [", queries.rows, ", ", k, "], got [",
          values.rows, ", ", values.cols, "]");
  require(values.dtype == accumulator_dtype(queries.dtype), "values: expected ", dtype_name(accumulator_dtype(queries.dtype)),
          ", got ", dtype_name(values.dtype));
}

}  // namespace fimo

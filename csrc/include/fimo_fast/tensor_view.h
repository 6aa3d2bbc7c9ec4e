// SPDX-License-Identifier: Apache-2.0
/// \file
/// Views of tensors owned by somebody else: a pointer, an element type, sizes and strides in elements.
///
/// The innermost dimension always has unit stride. Nothing here owns memory, and nothing here knows a framework.
#pragma once

#include <cstdint>

namespace fimo {

/// Element types, in the order of the kernel tables.
enum class DType : int { kFloat32 = 0, kFloat64 = 1, kBFloat16 = 2, kFloat16 = 3, kInt8 = 4 };
constexpr int kDTypeCount = 5;

constexpr const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return "float32";
    case DType::kFloat64: return "float64";
    case DType::kBFloat16: return "bfloat16";
    case DType::kFloat16: return "float16";
    case DType::kInt8: return "int8";
  }
  return "unknown";
}

constexpr std::int64_t dtype_size(DType dtype) {
  switch (dtype) {
    case DType::kFloat64: return 8;
    case DType::kFloat32: return 4;
    case DType::kInt8: return 1;
    default: return 2;
  }
}

/// The type in which an operation adds floating-point numbers, and in which it returns: float64 for float64, float32 for all
/// others. int8 is added in integers and returned as float32; only scores and topk take it.
constexpr DType accumulator_dtype(DType dtype) { return dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }

/// A matrix to read, [rows, cols].
struct ConstMatrixView {
  const void* data;
  DType dtype;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t row_stride;  // elements from one row to the next
};

/// A matrix to write, [rows, cols]. Rows must not overlap.
struct MatrixView {
  void* data;
  DType dtype;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t row_stride;
};

/// Per-example, per-token vectors to read, [batch, tokens, dim].
struct ConstTensor3View {
  const void* data;
  DType dtype;
  std::int64_t batch;
  std::int64_t tokens;
  std::int64_t dim;
  std::int64_t batch_stride;
  std::int64_t token_stride;
};

/// Per-example, per-token numbers of rows to read, [batch, tokens].
struct ConstIndexView {
  const std::int64_t* data;
  std::int64_t batch;
  std::int64_t tokens;
  std::int64_t batch_stride;
};

}  // namespace fimo

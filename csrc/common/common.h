// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the drivers of all devices share: errors, arithmetic of sizes, and parts of tensors.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "fimo_fast/tensor_view.h"

namespace fimo {

/// Throws std::invalid_argument built from `parts` unless `condition` holds. Parts are strings or numbers.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (condition) return;
  std::string message;
  const auto append = [&message](const auto& part) {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(part)>>) {
      message += std::to_string(part);
    } else {
      message += part;
    }
  };
  (append(parts), ...);
  throw std::invalid_argument(message);
}

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
inline std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }
inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
inline std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

/// The element `offset` elements after `data`.
inline const void* advance(const void* data, std::int64_t offset, DType dtype) {
  return static_cast<const char*>(data) + offset * dtype_size(dtype);
}
inline void* advance(void* data, std::int64_t offset, DType dtype) {
  return static_cast<char*>(data) + offset * dtype_size(dtype);
}

/// Part `part` of [0, count) cut into `parts` nearly equal ranges whose borders are multiples of `unit`.
struct Range {
  std::int64_t begin;
  std::int64_t end;
};
inline Range part_of(std::int64_t count, std::int64_t parts, std::int64_t part, std::int64_t unit) {
  const std::int64_t units = ceil_div(count, unit);
  return {smaller(units * part / parts * unit, count), smaller(units * (part + 1) / parts * unit, count)};
}

/// The given examples, or tokens of each.
inline ConstTensor3View some_examples(ConstTensor3View x, Range examples) {
  x.data = advance(x.data, examples.begin * x.batch_stride, x.dtype);
  x.batch = examples.end - examples.begin;
  return x;
}
inline ConstTensor3View some_tokens(ConstTensor3View x, Range tokens) {
  x.data = advance(x.data, tokens.begin * x.token_stride, x.dtype);
  x.tokens = tokens.end - tokens.begin;
  return x;
}
inline MatrixView some_rows(MatrixView x, Range rows) {
  x.data = advance(x.data, rows.begin * x.row_stride, x.dtype);
  x.rows = rows.end - rows.begin;
  return x;
}

}  // namespace fimo

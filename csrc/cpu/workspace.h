// SPDX-License-Identifier: Apache-2.0
/// \file
/// Scratch memory of a task, aligned to a cache line, and the error helpers of the drivers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "fimo_fast/tensor_view.h"

namespace fimo {

/// Uninitialised memory, freed with the object.
class Workspace {
 public:
  explicit Workspace(std::int64_t bytes = 0)
      : data_(bytes > 0 ? ::operator new(static_cast<std::size_t>(bytes), std::align_val_t{64}) : nullptr) {}
  ~Workspace() {
    if (data_) ::operator delete(data_, std::align_val_t{64});
  }
  Workspace(Workspace&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Workspace& operator=(Workspace&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }

  void* get() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
};

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

/// Checks the shape and type of a result for inputs of `dtype`.
inline void check_out(const MatrixView& out, std::int64_t rows, std::int64_t cols, DType dtype) {
  require(out.rows == rows && out.cols == cols, "out: expected shape [", rows, ", ", cols, "], got [", out.rows, ", ", out.cols,
          "]");
  require(out.dtype == accumulator_dtype(dtype), "out: expected ", dtype_name(accumulator_dtype(dtype)), ", got ",
          dtype_name(out.dtype));
}

/// Checks where a slice of a sketch's input begins.
inline void check_offset(std::int64_t offset, std::int64_t input_dim) {
  require(offset >= 0 && offset <= input_dim, "offset: expected 0 to input_dim = ", input_dim, ", got ", offset);
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

}  // namespace fimo

// SPDX-License-Identifier: Apache-2.0
/// \file
/// Inputs and outputs of the C++ tests, in guarded memory, with any strides.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "check.h"
#include "fimo_fast/tensor_view.h"
#include "guarded.h"

namespace check {

inline const std::vector<fimo::DType> kDTypes{fimo::DType::kFloat32, fimo::DType::kFloat64, fimo::DType::kBFloat16,
                                              fimo::DType::kFloat16};

enum class Values {
  kReal,      // all bits of the significand in use, magnitudes 2^-8 to 1
  kIntegers,  // -2 to 2: sums are exact in every order, and scores tie
};

/// Writes a value of `dtype` and returns it: exactly what the library will read.
inline double write_value(unsigned char* to, fimo::DType dtype, Random& random, Values values) {
  const int significand = dtype == fimo::DType::kFloat64    ? 53
                          : dtype == fimo::DType::kFloat32  ? 24
                          : dtype == fimo::DType::kBFloat16 ? 8
                                                            : 11;
  if (dtype == fimo::DType::kInt8) {  // all its values are integers whose sums are exact
    const std::int64_t x = random.integer(-128, 127);
    *to = static_cast<unsigned char>(x);
    return static_cast<double>(x);
  }
  double x = static_cast<double>(random.integer(-2, 2));
  if (dtype == fimo::DType::kFloat16 && values == Values::kReal && random.integer(0, 7) == 0) {
    x = std::ldexp(static_cast<double>(random.integer(-1023, 1023)), -24);  // subnormal
  } else if (values == Values::kReal) {
    const std::int64_t half = std::int64_t{1} << (significand - 1);
    x = static_cast<double>(random.integer(half, 2 * half - 1));
    x = std::ldexp(x, static_cast<int>(-significand - random.integer(0, 7)));
    if (random.word() & 1) x = -x;
  }
  if (dtype == fimo::DType::kFloat64) {
    std::memcpy(to, &x, 8);
    return x;
  }
  const float single = static_cast<float>(x);
  std::uint32_t bits;
  std::memcpy(&bits, &single, 4);
  if (dtype == fimo::DType::kFloat32) {
    std::memcpy(to, &bits, 4);
    return x;
  }
  std::uint16_t half_bits = static_cast<std::uint16_t>(bits >> 16);
  if (dtype == fimo::DType::kFloat16) {  // multiples of 2^-24, or the same significand with another bias of the exponent
    const std::uint32_t magnitude = std::fabs(x) < std::ldexp(1.0, -14)
                                        ? static_cast<std::uint32_t>(std::ldexp(std::fabs(x), 24))
                                        : ((bits & 0x7FFFFFFFu) >> 13) - (112u << 10);
    half_bits = static_cast<std::uint16_t>((bits >> 31 << 15) | magnitude);
  }
  std::memcpy(to, &half_bits, 2);
  return x;
}

/// Per-example, per-token vectors to read; a matrix is the case of one token. Whatever lies between vectors is NaN.
class Input {
 public:
  /// batch_gap and token_gap: elements between the end of one example (token) and the next. `tokens_first`: the memory
  /// order is [tokens, batch, dim].
  Input(Random& random, fimo::DType dtype, Values values, std::int64_t batch, std::int64_t tokens, std::int64_t dim,
        std::int64_t batch_gap = 0, std::int64_t token_gap = 0, bool tokens_first = false)
      : batch_(batch),
        tokens_(tokens),
        dim_(dim),
        token_stride_(tokens_first ? batch * (dim + batch_gap) + token_gap : dim + token_gap),
        batch_stride_(tokens_first ? dim + batch_gap : tokens * (dim + token_gap) + batch_gap),
        dtype_(dtype),
        memory_(static_cast<std::size_t>(span() * fimo::dtype_size(dtype))) {
    for (std::int64_t b = 0; b < batch; ++b) {
      for (std::int64_t t = 0; t < tokens; ++t) {
        for (std::int64_t i = 0; i < dim; ++i) values_.push_back(write_value(address(b, t, i), dtype, random, values));
      }
    }
  }

  double at(std::int64_t b, std::int64_t t, std::int64_t i) const {
    return values_[static_cast<std::size_t>((b * tokens_ + t) * dim_ + i)];
  }
  double at(std::int64_t row, std::int64_t col) const { return at(row, 0, col); }

  fimo::ConstTensor3View tensor() const {
    return {memory_.bytes(), dtype_, batch_, tokens_, dim_, batch_stride_, token_stride_};
  }
  fimo::ConstMatrixView matrix() const { return rows_and_cols(0, batch_, 0, dim_); }
  fimo::ConstMatrixView rows_and_cols(std::int64_t row, std::int64_t row_end, std::int64_t col, std::int64_t col_end) const {
    // An empty view may point anywhere: not beyond the memory, which would already be undefined.
    const bool empty = row == row_end || col == col_end;
    return {empty ? memory_.bytes() : address(row, 0, col), dtype_, row_end - row, col_end - col, batch_stride_};
  }

  void set_nan(std::int64_t row, std::int64_t col) {
    std::memset(address(row, 0, col), 0xFF, static_cast<std::size_t>(fimo::dtype_size(dtype_)));
    values_[static_cast<std::size_t>(row * dim_ + col)] = std::nan("");
  }

  std::int64_t batch() const { return batch_; }
  std::int64_t tokens() const { return tokens_; }
  std::int64_t dim() const { return dim_; }

 private:
  std::int64_t span() const {
    return batch_ && tokens_ && dim_ ? (batch_ - 1) * batch_stride_ + (tokens_ - 1) * token_stride_ + dim_ : 0;
  }
  unsigned char* address(std::int64_t b, std::int64_t t, std::int64_t i) const {
    return memory_.bytes() + (b * batch_stride_ + t * token_stride_ + i) * fimo::dtype_size(dtype_);
  }

  std::int64_t batch_, tokens_, dim_, token_stride_, batch_stride_;
  fimo::DType dtype_;
  Guarded memory_;
  std::vector<double> values_;  // [batch, tokens, dim]
};

/// A matrix to write, `lead` canaries before it and `gap` between its rows. T is the accumulator type.
template <class T>
class Output {
 public:
  Output(std::int64_t rows, std::int64_t cols, std::int64_t lead, std::int64_t gap)
      : rows_(rows),
        cols_(cols),
        lead_(lead),
        stride_(cols + gap),
        elements_(lead + (rows && cols ? (rows - 1) * stride_ + cols : 0)),
        memory_(static_cast<std::size_t>(elements_) * sizeof(T)) {
    // Canaries are near one, so that adding to them changes them; what must be overwritten is NaN.
    std::memset(memory_.bytes(), kCanary, static_cast<std::size_t>(elements_) * sizeof(T));
    for (std::int64_t r = 0; cols_ && r < rows_; ++r) std::memset(row(r), 0xFF, bytes_of_row());
  }

  /// Fills rows from `start` ([rows, cols]).
  void set(const std::vector<T>& start) {
    for (std::int64_t r = 0; cols_ && r < rows_; ++r) std::memcpy(row(r), start.data() + r * cols_, bytes_of_row());
  }
  /// Every bit as expected ([rows, cols]), canaries included.
  bool equals(const std::vector<T>& expected) const {
    for (std::int64_t r = 0; cols_ && r < rows_; ++r) {
      if (std::memcmp(row(r), expected.data() + r * cols_, bytes_of_row()) != 0) return false;
    }
    return canaries_alive();
  }
  /// [rows, cols]
  std::vector<T> contents() const {
    std::vector<T> result(static_cast<std::size_t>(rows_ * cols_));
    for (std::int64_t r = 0; cols_ && r < rows_; ++r) std::memcpy(result.data() + r * cols_, row(r), bytes_of_row());
    return result;
  }
  bool canaries_alive() const {
    for (std::int64_t i = 0; i < elements_; ++i) {
      const bool inside = i >= lead_ && (i - lead_) % stride_ < cols_;
      for (std::size_t b = 0; !inside && b < sizeof(T); ++b) {
        if (memory_.bytes()[static_cast<std::size_t>(i) * sizeof(T) + b] != kCanary) return false;
      }
    }
    return true;
  }

  fimo::MatrixView view() const { return view_of_rows(0, rows_); }
  fimo::MatrixView view_of_rows(std::int64_t begin, std::int64_t end) const {
    return {begin < end && cols_ ? row(begin) : memory_.bytes(), sizeof(T) == 8 ? fimo::DType::kFloat64 : fimo::DType::kFloat32,
            end - begin, cols_, stride_};
  }

 private:
  static constexpr unsigned char kCanary = 0x3F;

  unsigned char* row(std::int64_t r) const {
    return memory_.bytes() + static_cast<std::size_t>(lead_ + r * stride_) * sizeof(T);
  }
  std::size_t bytes_of_row() const { return static_cast<std::size_t>(cols_) * sizeof(T); }

  std::int64_t rows_, cols_, lead_, stride_, elements_;
  Guarded memory_;
};

}  // namespace check

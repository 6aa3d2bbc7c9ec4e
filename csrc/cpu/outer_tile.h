// SPDX-License-Identifier: Apache-2.0
/// \file
/// The parts that the drivers of outer products share: their check, factors as matrices, packing, and a tile of pairs by Gram
/// matrices.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/workspace.h"
#include "fimo_fast/tensor_view.h"

namespace fimo {

constexpr std::int64_t kTileRows = 144;  // tokens; a multiple of every kGramRows
constexpr std::int64_t kTileCols = 128;
constexpr std::int64_t kMaxPackedBytes = std::int64_t{4} << 20;

/// One factor of all examples as a matrix [batch * tokens, dim] with one row stride.
struct Factor {
  const void* data;
  DType dtype;
  std::int64_t batch, tokens, dim, row_stride;

  const void* row(std::int64_t index) const { return advance(data, index * row_stride, dtype); }
};

/// Copies into `copy` where examples are not evenly spaced (a slice of the token dimension); otherwise a view.
inline Factor flatten(const ConstTensor3View& x, Workspace& copy) {
  if (x.tokens <= 1) return {x.data, x.dtype, x.batch, x.tokens, x.dim, x.batch_stride};
  if (x.batch <= 1 || x.batch_stride == x.tokens * x.token_stride) {
    return {x.data, x.dtype, x.batch, x.tokens, x.dim, x.token_stride};
  }
  const std::int64_t row_bytes = x.dim * dtype_size(x.dtype);
  if (row_bytes == 0) return {x.data, x.dtype, x.batch, x.tokens, x.dim, x.dim};  // nothing to copy, and nowhere to put it
  copy = Workspace(x.batch * x.tokens * row_bytes);
  for (std::int64_t b = 0; b < x.batch; ++b) {
    for (std::int64_t t = 0; t < x.tokens; ++t) {
      std::memcpy(copy.as<char>() + (b * x.tokens + t) * row_bytes,
                  advance(x.data, b * x.batch_stride + t * x.token_stride, x.dtype), static_cast<std::size_t>(row_bytes));
    }
  }
  return {copy.get(), x.dtype, x.batch, x.tokens, x.dim, x.dim};
}

/// The columns of B in C = A B^T: packed in panels, or prepared for the kernel for few vectors.
struct Packed {
  void* data;
  std::int64_t depth, cols;
  bool few;
};

inline std::int64_t packed_bytes(const Kernels& table, std::int64_t depth, std::int64_t cols, DType dtype) {
  const std::int64_t panel = table.panel[static_cast<int>(dtype)];
  return depth * round_up(cols, panel) * dtype_size(accumulator_dtype(dtype));
}

inline std::int64_t prepared_bytes(const Kernels& table, std::int64_t depth, std::int64_t cols, DType dtype) {
  return round_up(depth, table.dot_step[static_cast<int>(dtype)]) * cols * dtype_size(accumulator_dtype(dtype));
}

inline Packed pack_rows(const Kernels& table, const Factor& x, std::int64_t first, std::int64_t count, const Workspace& into,
                        bool few = false) {
  const int type = static_cast<int>(x.dtype);
  if (few) {
    table.dot_prepare[type]({x.row(first), x.row_stride, count, x.dim, into.get()});
  } else {
    table.pack[type]({x.row(first), x.row_stride, 1, count, x.dim, into.get()});
  }
  return {into.get(), x.dim, count, few};
}

/// c[i, j] = <x[first + i], column j>; added to it if accumulate (not for few columns).
inline void gram(const Kernels& table, const Factor& x, std::int64_t first, std::int64_t count, const Packed& columns, void* c,
                 std::int64_t c_row_stride, bool accumulate = false) {
  const int type = static_cast<int>(x.dtype);
  if (columns.few) {
    table.dot[type]({x.row(first), x.row_stride, count, columns.depth, columns.data, columns.cols, c, c_row_stride});
  } else {
    table.gram[type](
        {x.row(first), x.row_stride, 1, count, columns.depth, columns.data, columns.cols, c, c_row_stride, accumulate});
  }
}

inline void write(const MatrixView& out, std::int64_t row, std::int64_t col, double value) {
  void* target = advance(out.data, row * out.row_stride + col, out.dtype);
  if (out.dtype == DType::kFloat64) {
    *static_cast<double*>(target) = value;
  } else {
    *static_cast<float*>(target) = static_cast<float>(value);
  }
}

inline double read(const MatrixView& out, std::int64_t row, std::int64_t col) {
  const void* source = advance(out.data, row * out.row_stride + col, out.dtype);
  return out.dtype == DType::kFloat64 ? *static_cast<const double*>(source) : *static_cast<const float*>(source);
}

/// Columns (tokens) of a tile, as many as the packed factors leave room for.
inline std::int64_t tile_cols(const Kernels& table, std::int64_t n, std::int64_t m, DType dtype) {
  const std::int64_t panel = table.panel[static_cast<int>(dtype)];
  const std::int64_t fitting = kMaxPackedBytes / ((n + m + 1) * dtype_size(accumulator_dtype(dtype)));
  return smaller(kTileCols, larger(panel, fitting / panel * panel));
}

/// Pairs of examples by Gram matrices of their tokens, one tile of tokens at a time. With `few`, at most kMaxDotVectors columns
/// stand against each example: panels would be mostly padding.
class FactoredTile {
 public:
  FactoredTile(const Kernels& table, const Factor& a, const Factor& delta, const Factor& a2, const Factor& delta2,
               std::int64_t cols, bool few)
      : table_(table),
        a_(a),
        delta_(delta),
        a2_(a2),
        delta2_(delta2),
        cols_(cols),
        few_(few),
        acc_(accumulator_dtype(a.dtype)),
        packed_a_((few ? prepared_bytes : packed_bytes)(table, a2.dim, cols, a.dtype)),
        packed_delta_((few ? prepared_bytes : packed_bytes)(table, delta2.dim, cols, a.dtype)),
        gram_a_(kTileRows * cols * dtype_size(acc_)),
        gram_delta_(kTileRows * cols * dtype_size(acc_)),
        sums_(kTileRows * cols * 8) {}

  /// Packs tokens [first, first + count) of the second side.
  void load_columns(std::int64_t first, std::int64_t count) {
    columns_a_ = pack_rows(table_, a2_, first, count, packed_a_, few_);
    columns_delta_ = pack_rows(table_, delta2_, first, count, packed_delta_, few_);
  }

  /// out[b0 + i, out_col + j] = <G_{b0 + i}, G'_{c0 + j}>, i < count, j < count2.
  void run(std::int64_t b0, std::int64_t count, std::int64_t c0, std::int64_t count2, const MatrixView& out,
           std::int64_t out_col) {
    const int acc = static_cast<int>(acc_);
    const std::int64_t tokens = a_.tokens, tokens2 = a2_.tokens;
    double* sums = sums_.as<double>();
    for (std::int64_t i = 0; i < count * count2; ++i) sums[i] = 0.0;
    const std::int64_t col_tokens = count2 * tokens2, row_tokens = count * tokens;
    for (std::int64_t first2 = 0; first2 < col_tokens; first2 += cols_) {
      const std::int64_t tile2 = smaller(cols_, col_tokens - first2);
      if (col_tokens > cols_) load_columns(c0 * tokens2 + first2, tile2);
      for (std::int64_t first = 0; first < row_tokens; first += kTileRows) {
        const std::int64_t tile = smaller(kTileRows, row_tokens - first);
        gram(table_, a_, b0 * tokens + first, tile, columns_a_, gram_a_.get(), cols_);
        gram(table_, delta_, b0 * tokens + first, tile, columns_delta_, gram_delta_.get(), cols_);
        if (tokens == 1 && tokens2 == 1) {
          for (std::int64_t i = 0; i < tile; ++i) {
            table_.multiply[acc](advance(gram_a_.get(), i * cols_, acc_), advance(gram_delta_.get(), i * cols_, acc_),
                                 advance(out.data, (b0 + i) * out.row_stride + out_col, acc_), tile2);
          }
          return;
        }
        // Whole examples a tile, or one example and part of its tokens.
        const std::int64_t rows_each = smaller(tokens, tile), cols_each = smaller(tokens2, tile2);
        for (std::int64_t i = 0; i < count; ++i) {
          for (std::int64_t j = 0; j < count2; ++j) {
            const std::int64_t at = i * rows_each * cols_ + j * cols_each;
            sums[i * count2 + j] += table_.sum_products[acc](advance(gram_a_.get(), at, acc_),
                                                             advance(gram_delta_.get(), at, acc_), cols_, rows_each, cols_each);
          }
        }
      }
    }
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t j = 0; j < count2; ++j) write(out, b0 + i, out_col + j, sums[i * count2 + j]);
    }
  }

 private:
  const Kernels& table_;
  const Factor &a_, &delta_, &a2_, &delta2_;
  std::int64_t cols_;
  bool few_;
  DType acc_;
  Workspace packed_a_, packed_delta_, gram_a_, gram_delta_, sums_;
  Packed columns_a_{}, columns_delta_{};
};

}  // namespace fimo

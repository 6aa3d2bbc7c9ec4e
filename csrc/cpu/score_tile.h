// SPDX-License-Identifier: Apache-2.0
/// \file
/// What scores and topk share: the checks, the cut into tiles, and the inner products of a tile.
#pragma once

#include <vector>

#include "common/checks.h"
#include "cpu/isa/dispatch.h"
#include "cpu/workspace.h"
#include "fimo_fast/parallel.h"
#include "fimo_fast/score.h"

namespace fimo {

constexpr std::int64_t kTileColumns = 128;
constexpr std::int64_t kBlockRows = 240;  // a multiple of every kGramRows
constexpr std::int64_t kMaxTileBytes = std::int64_t{4} << 20;
/// An int8 product is at most 2^15 with the row bias, so the 32-bit sums of this depth do not overflow.
constexpr std::int64_t kMaxInt8Depth = std::int64_t{1} << 15;

/// Rows of one of the two matrices.
struct ScoreSide {
  ConstMatrixView x;
  const float* scales;  // null unless int8

  ScoreSide part(Range rows) const {
    ScoreSide result = *this;
    result.x.data = advance(x.data, rows.begin * x.row_stride, x.dtype);
    result.x.rows = rows.end - rows.begin;
    if (scales) result.scales += rows.begin;
    return result;
  }
};

/// out[j, i] = x[i, j], for i < rows, j < cols.
template <class T>
void transpose(const T* x, std::int64_t x_stride, std::int64_t rows, std::int64_t cols, T* out, std::int64_t out_stride) {
  // Through a small square, so that `out` is written in whole lines: its rows are often a power of two apart, and a line in
  // each of many rows would then fight for one set of the cache.
  constexpr std::int64_t kSquare = 16;
  T square[kSquare][kSquare];
  for (std::int64_t i0 = 0; i0 < rows; i0 += kSquare) {
    const std::int64_t height = smaller(kSquare, rows - i0);
    for (std::int64_t j0 = 0; j0 < cols; j0 += kSquare) {
      const std::int64_t width = smaller(kSquare, cols - j0);
      for (std::int64_t i = 0; i < height; ++i) {
        for (std::int64_t j = 0; j < width; ++j) square[j][i] = x[(i0 + i) * x_stride + j0 + j];
      }
      for (std::int64_t j = 0; j < width; ++j) {
        std::memcpy(out + (j0 + j) * out_stride + i0, square[j], static_cast<std::size_t>(height) * sizeof(T));
      }
    }
  }
}

inline void transpose(DType type, const void* x, std::int64_t x_stride, std::int64_t rows, std::int64_t cols, void* out,
                      std::int64_t out_stride) {
  if (type == DType::kFloat64) {
    transpose(static_cast<const double*>(x), x_stride, rows, cols, static_cast<double*>(out), out_stride);
  } else {
    transpose(static_cast<const float*>(x), x_stride, rows, cols, static_cast<float*>(out), out_stride);
  }
}

/// The inner products of blocks of rows with the columns that were given first, in whichever of two kernels suits: packed
/// panels, or vectors along the depth for few columns.
class ScoreTile {
 public:
  ScoreTile(const ScoreSide& columns, bool few)
      : table_(kernels()),
        columns_(columns),
        few_(few),
        type_(static_cast<int>(columns.x.dtype)),
        acc_(accumulator_dtype(columns.x.dtype)),
        stride_(round_up(columns.x.rows, table_.panel[type_])),
        scores_(kBlockRows * stride_ * dtype_size(acc_)) {
    // The padding is compared with thresholds too: zeros never pass.
    std::memset(scores_.get(), 0, static_cast<std::size_t>(kBlockRows * stride_ * dtype_size(acc_)));
    const bool integer = columns.x.dtype == DType::kInt8;
    const std::int64_t depth = columns.x.cols, most = integer ? kMaxInt8Depth : larger(depth, 1);
    std::int64_t first = 0;
    do {
      parts_.push_back(convert_columns({first, smaller(first + most, depth)}));
      first += most;
    } while (first < depth);
    if (integer) dots_ = Workspace(kBlockRows * stride_ * 4);
    if (parts_.size() > 1) sums_ = Workspace(kBlockRows * stride_ * 8);
  }

  std::int64_t stride() const { return stride_; }

  /// [rows, stride]: the scores of at most kBlockRows rows; valid until the next call.
  void* scores(const ScoreSide& rows) const {
    void* products = dots_.get() ? dots_.get() : scores_.get();
    for (std::size_t p = 0; p < parts_.size(); ++p) {
      const Part& part = parts_[p];
      const void* at = advance(rows.x.data, part.depth.begin, rows.x.dtype);
      const std::int64_t depth = part.depth.end - part.depth.begin;
      if (few_) {
        table_.dot[type_]({at, rows.x.row_stride, rows.x.rows, depth, part.words.get(), columns_.x.rows, products, stride_});
      } else {
        table_.gram[type_](
            {at, rows.x.row_stride, 1, rows.x.rows, depth, part.words.get(), columns_.x.rows, products, stride_, false});
      }
      if (dots_.get()) {
        table_.scale({dots_.as<std::int32_t>(), stride_, rows.x.rows, columns_.x.rows, part.bias.data(), rows.scales,
                      columns_.scales, sums_.as<double>(), p > 0, scores_.as<float>()});
      }
    }
    return scores_.get();
  }

 private:
  /// A range of the depth that one kernel call takes.
  struct Part {
    Range depth;
    Workspace words;
    std::vector<std::int32_t> bias;  // [columns] for int8
  };

  Part convert_columns(Range range) {
    const ConstMatrixView& x = columns_.x;
    const std::int64_t depth = range.end - range.begin, word_bytes = acc_ == DType::kFloat64 ? 8 : 4;
    const void* source = advance(x.data, range.begin, x.dtype);
    Part part{range, Workspace(), {}};
    if (few_) {
      part.words = Workspace(round_up(depth, table_.dot_step[type_]) / table_.word_elements[type_] * x.rows * word_bytes);
      table_.dot_prepare[type_]({source, x.row_stride, x.rows, depth, part.words.get()});
    } else {
      part.words = Workspace(ceil_div(depth, table_.word_elements[type_]) * stride_ * word_bytes);
      table_.pack[type_]({source, x.row_stride, 1, x.rows, depth, part.words.get()});
    }
    if (x.dtype == DType::kInt8) {
      for (std::int64_t row = 0; row < x.rows; ++row) {
        const auto* elements = static_cast<const std::int8_t*>(source) + row * x.row_stride;
        std::int32_t sum = 0;
        for (std::int64_t d = 0; d < depth; ++d) sum += elements[d];
        part.bias.push_back(table_.int8_row_bias * sum);
      }
    }
    return part;
  }

  const Kernels& table_;
  ScoreSide columns_;
  bool few_;
  int type_;
  DType acc_;
  std::int64_t stride_;
  Workspace scores_, dots_, sums_;
  std::vector<Part> parts_;
};

/// num_threads, or fewer where the products would not keep them busy.
inline int score_threads(const ConstMatrixView& queries, const ConstMatrixView& features, int num_threads) {
  const double products = static_cast<double>(queries.rows) * static_cast<double>(features.rows);
  return useful_threads(products * static_cast<double>(queries.cols + 16) / 16, num_threads);
}

/// How queries x features are cut: into tiles of queries, and each tile's features into parts.
struct ScoreCut {
  bool few;      // the kernel for few columns: decided by the whole problem, so that a pair's bits do not depend on its place
  bool swapped;  // it takes the features as columns, because they are the few
  std::int64_t tile, tiles, parts;
};

inline ScoreCut cut_scores(const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t most_parts,
                           int num_threads) {
  const Kernels& table = kernels();
  const int type = static_cast<int>(queries.dtype);
  ScoreCut cut;
  cut.few = smaller(queries.rows, features.rows) <= kMaxDotVectors;
  cut.swapped = features.rows <= kMaxDotVectors && queries.rows > features.rows;
  const std::int64_t panel = table.panel[type];
  const std::int64_t query_bytes =
      dtype_size(accumulator_dtype(queries.dtype)) * (queries.cols / table.word_elements[type] + 1);
  const std::int64_t most = smaller(kTileColumns, larger(panel, kMaxTileBytes / query_bytes / panel * panel));
  cut.tile = round_up(ceil_div(queries.rows, ceil_div(queries.rows, most)), panel);
  cut.tiles = ceil_div(queries.rows, cut.tile);
  // Only as far as the threads need it to end together: each part converts its tile's queries again.
  cut.parts = num_threads == 1 ? 1 : larger(1, smaller(most_parts, ceil_div(4 * num_threads, cut.tiles)));
  return cut;
}

}  // namespace fimo

// SPDX-License-Identifier: Apache-2.0
// Sketching: checks, the cut into tasks, and the workspaces. No cut changes the order in which an output is summed.
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "dispatch.h"
#include "fimo_fast/parallel.h"
#include "fimo_fast/random.h"
#include "fimo_fast/sketch.h"
#include "workspace.h"

namespace fimo {
namespace {

// Above this the transposed sums of a group of rows would leave the second-level cache.
constexpr std::int64_t kMaxGroupBytes = std::int64_t{1} << 20;

// Coordinates of a row that an SRHT reads in one go: long enough for the hardware to read ahead, short enough for the signs of
// all of them to stay in the first-level cache.
constexpr std::int64_t kRunLength = std::int64_t{1} << 15;

double scale_of(const Sketch& sketch) {
  return 1.0 / std::sqrt(static_cast<double>(sketch.kind == SketchKind::kSjlt ? sketch.nonzeros : sketch.sketch_dim));
}

/// The rows [range.begin, range.end) of the batch as a kernel's input.
SketchInput input_rows(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, Range range) {
  return {advance(grads.data, range.begin * grads.row_stride, grads.dtype),
          grads.row_stride,
          range.end - range.begin,
          grads.cols,
          static_cast<std::uint64_t>(offset),
          scale_of(sketch),
          sketch.seed};
}

void* output_rows(const MatrixView& out, Range range) { return advance(out.data, range.begin * out.row_stride, out.dtype); }

void project_rademacher(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out,
                        int num_threads) {
  const auto kernel = kernels().rademacher[static_cast<int>(grads.dtype)];
  constexpr std::int64_t kCols = 128;
  const std::int64_t col_tiles = ceil_div(sketch.sketch_dim, kCols);
  // Column tiles share no signs, row ranges do: rows are cut only where there are too few column tiles.
  const std::int64_t row_parts =
      num_threads <= 1 ? 1 : larger(1, smaller(ceil_div(grads.rows, 8), ceil_div(2 * num_threads, col_tiles)));
  parallel_for(col_tiles * row_parts, num_threads, [&](std::int64_t task) {
    const Range rows = part_of(grads.rows, row_parts, task % row_parts, 8);
    const std::int64_t first_col = task / row_parts * kCols;
    kernel({input_rows(grads, sketch, offset, rows), output_rows(out, rows), out.row_stride, first_col,
            smaller(kCols, sketch.sketch_dim - first_col)});
  });
}

void project_sjlt(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out,
                  int num_threads) {
  const int dtype = static_cast<int>(grads.dtype);
  const Kernels& table = kernels();
  const std::int64_t lanes = table.lanes[dtype];
  const std::int64_t element = dtype_size(out.dtype);
  const std::int64_t s = sketch.nonzeros;
  std::vector<std::int64_t> block_start(static_cast<std::size_t>(s) + 1);
  for (std::int64_t r = 0; r <= s; ++r) block_start[static_cast<std::size_t>(r)] = r * sketch.sketch_dim / s;

  // Full groups of rows first; the nonzeros of a column write disjoint outputs, so they are the second way to cut.
  const std::int64_t row_parts = larger(1, smaller(num_threads, grads.rows / lanes));
  const std::int64_t nonzero_parts = smaller(s, ceil_div(num_threads, row_parts));
  parallel_for(row_parts * nonzero_parts, num_threads, [&](std::int64_t index) {
    const Range rows = part_of(grads.rows, row_parts, index / nonzero_parts, lanes);
    const Range nonzeros = part_of(s, nonzero_parts, index % nonzero_parts, 1);
    const std::int64_t cols =
        block_start[static_cast<std::size_t>(nonzeros.end)] - block_start[static_cast<std::size_t>(nonzeros.begin)];
    const std::int64_t coordinates = larger(1, smaller(512, 4096 / s));
    const bool grouped = cols * lanes * element <= kMaxGroupBytes;
    const Workspace words(16 * (coordinates * s / 4 + 2)), entries(4 * coordinates * (nonzeros.end - nonzeros.begin));
    const Workspace transposed(grouped ? coordinates * lanes * element : 0);
    const Workspace sums(grouped ? round_up(rows.end - rows.begin, lanes) * cols * element : 0);
    table.sjlt[dtype]({input_rows(grads, sketch, offset, rows), output_rows(out, rows), out.row_stride, s, nonzeros.begin,
                       nonzeros.end, block_start.data(), coordinates, words.as<std::uint32_t>(), entries.as<std::uint32_t>(),
                       transposed.get(), sums.get()});
  });
}

/// The rows of the transform an SRHT keeps: a partial Fisher-Yates shuffle, sorted. Step i exchanges entry i with entry
/// i + floor(u (L - i) / 2^64), u the first two words of philox(i, 0, kStreamSrhtRows).
std::vector<std::int32_t> srht_rows(const Sketch& sketch, std::int64_t block) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(block));
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<bool> kept(static_cast<std::size_t>(block), false);
  for (std::int64_t i = 0; i < sketch.sketch_dim; ++i) {
    const PhiloxBlock bits = philox(static_cast<std::uint64_t>(i), 0, kStreamSrhtRows, sketch.seed);
    const std::uint64_t left = static_cast<std::uint64_t>(block - i);
    // The high 64 bits of a 64 x 32 bit product, without 128-bit integers.
    const std::uint64_t pick = (bits.word[1] * left + ((bits.word[0] * left) >> 32)) >> 32;
    std::swap(rows[static_cast<std::size_t>(i)], rows[static_cast<std::size_t>(i) + pick]);
    kept[static_cast<std::size_t>(rows[static_cast<std::size_t>(i)])] = true;
  }
  rows.clear();
  for (std::int64_t row = 0; row < block; ++row) {
    if (kept[static_cast<std::size_t>(row)]) rows.push_back(static_cast<std::int32_t>(row));
  }
  return rows;
}

void project_srht(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out,
                  int num_threads) {
  const auto kernel = kernels().srht[static_cast<int>(grads.dtype)];
  std::int64_t block = 1;
  while (block < sketch.sketch_dim) block *= 2;
  const std::vector<std::int32_t> rows_kept =
      block > sketch.sketch_dim ? srht_rows(sketch, block) : std::vector<std::int32_t>();
  const std::int64_t parts = larger(1, smaller(num_threads, grads.rows));
  parallel_for(parts, num_threads, [&](std::int64_t part) {
    const Range rows = part_of(grads.rows, parts, part, 1);
    const Workspace buffer(block * dtype_size(out.dtype));
    const std::int64_t run = larger(1, kRunLength / block);
    const Workspace signs_in(16 * (run * block / 128 + 2)), signs_out(run * ceil_div(block, 128) * 16);
    const Workspace signs_columns(rows_kept.empty() ? 0 : run * ceil_div(sketch.sketch_dim, 128) * 16);
    const Workspace sums(rows_kept.empty() ? 0 : (rows.end - rows.begin) * block * dtype_size(out.dtype));
    kernel({input_rows(grads, sketch, offset, rows), output_rows(out, rows), out.row_stride, block, sketch.sketch_dim,
            rows_kept.empty() ? nullptr : rows_kept.data(), run, buffer.get(), sums.get(), signs_in.as<std::uint32_t>(),
            signs_out.as<std::uint32_t>(), signs_columns.as<std::uint32_t>()});
  });
}

}  // namespace

void validate(const Sketch& sketch) {
  require(sketch.input_dim >= 1 && sketch.input_dim <= kMaxInputDim, "input_dim: expected 1 to 2^48, got ", sketch.input_dim);
  require(sketch.sketch_dim >= 1 && sketch.sketch_dim <= kMaxSketchDim, "sketch_dim: expected 1 to 2^30, got ",
          sketch.sketch_dim);
  if (sketch.kind == SketchKind::kSjlt) {
    const std::int64_t most = smaller(sketch.sketch_dim, kMaxNonzeros);
    require(sketch.nonzeros >= 1 && sketch.nonzeros <= most, "nonzeros: expected 1 to ", most, " (at most sketch_dim), got ",
            sketch.nonzeros);
  } else {
    require(sketch.nonzeros == 0, "nonzeros: expected 0 for a sketch that is not an SJLT, got ", sketch.nonzeros);
  }
}

void project(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out, int num_threads) {
  validate(sketch);
  require(offset >= 0 && offset <= sketch.input_dim, "offset: expected 0 to input_dim = ", sketch.input_dim, ", got ", offset);
  require(grads.cols <= sketch.input_dim - offset, "grads: expected at most input_dim - offset = ", sketch.input_dim - offset,
          " columns, got ", grads.cols);
  require(out.rows == grads.rows && out.cols == sketch.sketch_dim, "out: expected shape [", grads.rows, ", ", sketch.sketch_dim,
          "], got [", out.rows, ", ", out.cols, "]");
  require(out.dtype == accumulator_dtype(grads.dtype), "out: expected ", dtype_name(accumulator_dtype(grads.dtype)), " for ",
          dtype_name(grads.dtype), " grads, got ", dtype_name(out.dtype));
  if (grads.rows == 0 || grads.cols == 0) return;
  switch (sketch.kind) {
    case SketchKind::kRademacher: return project_rademacher(grads, sketch, offset, out, num_threads);
    case SketchKind::kSjlt: return project_sjlt(grads, sketch, offset, out, num_threads);
    case SketchKind::kSrht: return project_srht(grads, sketch, offset, out, num_threads);
  }
}

}  // namespace fimo

// SPDX-License-Identifier: Apache-2.0
// Sketching: checks, the cut into tasks, and the workspaces. No cut changes the order in which an output is summed.
#include <atomic>
#include <vector>

#include "common/checks.h"
#include "common/mask.h"
#include "cpu/isa/dispatch.h"
#include "cpu/sketch_tables.h"
#include "cpu/srht_rows.h"
#include "cpu/task_queue.h"
#include "cpu/workspace.h"
#include "fimo_fast/parallel.h"
#include "fimo_fast/sketch.h"

namespace fimo {
namespace {

// Above this the transposed sums of a group of rows would leave the second-level cache.
constexpr std::int64_t kMaxGroupBytes = std::int64_t{1} << 20;

// Nonzeros of an SJLT generated ahead of their use.
constexpr std::int64_t kSjltChunk = std::int64_t{1} << 16;
// Fewer nonzeros than this are added before a second thread would have started.
constexpr std::int64_t kMinParallel = std::int64_t{1} << 16;

// Coordinates of a row that an SRHT reads in one go: long enough for the hardware to read ahead, short enough for the signs of
// all of them to stay in the first-level cache.
constexpr std::int64_t kRunLength = std::int64_t{1} << 15;

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

void project_dense(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out,
                   int num_threads) {
  const Kernels& table = kernels();
  const auto kernel = (sketch.kind == SketchKind::kGaussian ? table.gaussian : table.rademacher)[static_cast<int>(grads.dtype)];
  const std::int64_t element = dtype_size(out.dtype), tiles = ceil_div(sketch.sketch_dim, kDenseColumns);
  // Parts of columns share no entries, parts of rows generate the same ones: rows are cut only where there are too few columns,
  // and where their scaled copies would leave the second-level cache.
  std::int64_t row_parts = ceil_div(grads.rows, 512);
  if (tiles * row_parts < num_threads)
    row_parts = larger(row_parts, smaller(ceil_div(grads.rows, 8), ceil_div(num_threads, tiles)));
  const std::int64_t col_parts = smaller(tiles, ceil_div(2 * num_threads, row_parts));
  parallel_for(col_parts * row_parts, num_threads, [&](std::int64_t task) {
    const Range rows = part_of(grads.rows, row_parts, task % row_parts, 8);
    const Range cols = part_of(sketch.sketch_dim, col_parts, task / row_parts, kDenseColumns);
    const Workspace scaled((rows.end - rows.begin) * kDenseCoordinates * element);
    const Workspace panel(kDenseCoordinates * kDenseColumns * element);
    kernel({input_rows(grads, sketch, offset, rows), output_rows(out, rows), out.row_stride, cols.begin, cols.end - cols.begin,
            scaled.get(), panel.get()});
  });
}

void project_mask(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out,
                  int num_threads) {
  const auto kernel = kernels().mask[static_cast<int>(grads.dtype)];
  const std::int64_t first = mask_output(sketch.input_dim, sketch.sketch_dim, offset);
  const std::int64_t count = mask_output(sketch.input_dim, sketch.sketch_dim, offset + grads.cols - 1) + 1 - first;
  const std::int64_t parts = smaller(4 * std::int64_t{num_threads}, ceil_div(count, 256));
  parallel_for(parts, num_threads, [&](std::int64_t part) {
    const Range outputs = part_of(count, parts, part, 256);
    kernel({input_rows(grads, sketch, offset, {0, grads.rows}), out.data, out.row_stride, sketch.input_dim, sketch.sketch_dim,
            first + outputs.begin, first + outputs.end});
  });
}

/// How an SJLT is cut. Chunk after chunk of coordinates: `pieces` generate the nonzeros of one, then its parts, rows by
/// nonzeros, are added while the nonzeros of the next chunk are generated. Two chunks have room.
struct SjltPlan {
  std::int64_t chunk, chunks, pieces;
  std::int64_t groups;         // of `lanes` rows; the rows after them go one by one
  std::int64_t row_parts;      // groups and single rows
  std::int64_t nonzero_parts;  // the nonzeros of a column write disjoint outputs
  std::int64_t lanes, column_step;
};

SjltPlan plan_sjlt(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t period, std::int64_t lanes,
                   std::int64_t element, int threads) {
  SjltPlan plan{};
  const std::int64_t s = sketch.nonzeros;
  // Rows in groups of one register, unless the last ones would fill less than a quarter of it or the sums do not fit.
  const bool grouped = sketch.sketch_dim * lanes * element <= kMaxGroupBytes;
  plan.lanes = lanes;
  plan.column_step = grouped ? lanes : 1;
  plan.groups = grouped ? grads.rows / lanes + (4 * (grads.rows % lanes) >= lanes) : 0;
  plan.row_parts = plan.groups + larger(0, grads.rows - plan.groups * lanes);
  plan.nonzero_parts = smaller(s, ceil_div(threads, plan.row_parts));
  plan.chunk = smaller(grads.cols, round_up(larger(1, kSjltChunk / s), period));
  plan.chunks = ceil_div(grads.cols, plan.chunk);
  plan.pieces = threads == 1 ? 1 : smaller(4 * std::int64_t{threads}, ceil_div(plan.chunk, period));
  return plan;
}

void project_sjlt(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out,
                  int num_threads) {
  const int dtype = static_cast<int>(grads.dtype);
  const Kernels& table = kernels();
  const std::int64_t s = sketch.nonzeros, k = sketch.sketch_dim, element = dtype_size(out.dtype);
  const int threads = grads.rows * grads.cols < kMinParallel / s ? 1 : num_threads;
  const SjltBlocks blocks(sketch);
  const SjltPlan plan = plan_sjlt(grads, sketch, blocks.period, table.lanes[dtype], element, threads);

  const std::int64_t room = smaller(2, plan.chunks) * plan.chunk * s, words_per_piece = blocks.words();
  const Workspace columns(4 * room), factors(element * room), words(4 * plan.pieces * words_per_piece);
  const Workspace sums(plan.groups * k * plan.lanes * element);

  const auto generate = [&](std::int64_t chunk, std::int64_t piece) {
    const std::int64_t begin = chunk * plan.chunk;
    const Range part = part_of(smaller(plan.chunk, grads.cols - begin), plan.pieces, piece, blocks.period);
    const std::int64_t at = (chunk % 2 * plan.chunk + part.begin) * s;
    table.sjlt_entries[dtype]({static_cast<std::uint64_t>(offset + begin + part.begin), part.end - part.begin, s,
                               scale_of(sketch), sketch.seed, blocks.period, blocks.lengths.data(), blocks.starts.data(),
                               words.as<std::uint32_t>() + piece * words_per_piece,
                               static_cast<std::uint32_t>(plan.column_step), columns.as<std::uint32_t>() + at,
                               advance(factors.get(), at, out.dtype)});
  };
  const auto add = [&](std::int64_t chunk, std::int64_t part) {
    const std::int64_t row_part = part / plan.nonzero_parts, alone = row_part - plan.groups, grouped = plan.groups * plan.lanes;
    const Range rows = alone < 0 ? Range{row_part * plan.lanes, smaller((row_part + 1) * plan.lanes, grads.rows)}
                                 : Range{grouped + alone, grouped + alone + 1};
    const Range nonzeros = part_of(s, plan.nonzero_parts, part % plan.nonzero_parts, 1);
    const std::int64_t begin = chunk * plan.chunk, at = chunk % 2 * plan.chunk * s;
    SketchInput in = input_rows(grads, sketch, offset, rows);
    in.grads = advance(in.grads, begin, grads.dtype);
    in.dim = smaller(plan.chunk, grads.cols - begin);
    table.sjlt[dtype]({in, output_rows(out, rows), out.row_stride, s, nonzeros.begin, nonzeros.end, nonzeros.begin * k / s,
                       nonzeros.end * k / s, plan.column_step, columns.as<std::uint32_t>() + at,
                       advance(factors.get(), at, out.dtype),
                       alone < 0 ? advance(sums.get(), row_part * k * plan.lanes, out.dtype) : nullptr, chunk == 0,
                       chunk == plan.chunks - 1});
  };

  // Tasks in the order: pieces of chunk 0; parts of chunk 0, pieces of chunk 1; parts of chunk 1, pieces of chunk 2; ...
  const std::int64_t parts = plan.row_parts * plan.nonzero_parts, step = parts + plan.pieces;
  std::atomic<std::int64_t> generated{0};                                         // pieces
  std::vector<std::atomic<std::int64_t>> added(static_cast<std::size_t>(parts));  // chunks, by part
  for (auto& chunks : added) chunks.store(0, std::memory_order_relaxed);
  struct Task {
    std::int64_t chunk, part, piece;  // one of the latter is -1
  };
  const auto task_of = [&](std::int64_t index) {
    const std::int64_t chunk = (index + parts) / step, at = (index + parts) % step;
    return at < parts ? Task{chunk - 1, at, -1} : Task{chunk, -1, at - parts};
  };
  const auto ready = [&](std::int64_t index) {
    const Task task = task_of(index);
    const std::int64_t pieces_done = generated.load(std::memory_order_acquire);
    if (task.part >= 0) {
      const std::int64_t chunks_done = added[static_cast<std::size_t>(task.part)].load(std::memory_order_acquire);
      return chunks_done == task.chunk && pieces_done >= (task.chunk + 1) * plan.pieces;
    }
    if (pieces_done < task.chunk * plan.pieces) return false;
    for (const auto& chunks : added) {
      if (chunks.load(std::memory_order_acquire) < task.chunk - 1) return false;  // reads what would be overwritten
    }
    return true;
  };
  run_in_order(plan.chunks * step, threads, ready, [&](std::int64_t index) {
    const Task task = task_of(index);
    if (task.part >= 0) {
      add(task.chunk, task.part);
      added[static_cast<std::size_t>(task.part)].fetch_add(1, std::memory_order_release);
    } else {
      generate(task.chunk, task.piece);
      generated.fetch_add(1, std::memory_order_release);
    }
  });
}

void project_srht(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out,
                  int num_threads) {
  const auto kernel = kernels().srht[static_cast<int>(grads.dtype)];
  const std::int64_t block = srht_block(sketch);
  const std::vector<std::int32_t> rows_kept =
      block > sketch.sketch_dim ? srht_rows(sketch, block) : std::vector<std::int32_t>();
  const SpreadTables spread = spread_to(rows_kept, rows_kept.empty() ? 0 : block);
  const std::int64_t parts = larger(1, smaller(num_threads, grads.rows));
  parallel_for(parts, num_threads, [&](std::int64_t part) {
    const Range rows = part_of(grads.rows, parts, part, 1);
    const Workspace buffer(block * dtype_size(out.dtype));
    const std::int64_t run = larger(1, kRunLength / block);
    const Workspace signs_in(16 * (run * block / 128 + 2)), signs_out(run * ceil_div(block, 128) * 16);
    const Workspace signs_columns(rows_kept.empty() ? 0 : run * ceil_div(sketch.sketch_dim, 128) * 16 + 4);
    const Workspace sums(rows_kept.empty() ? 0 : (rows.end - rows.begin) * block * dtype_size(out.dtype));
    kernel({input_rows(grads, sketch, offset, rows),
            output_rows(out, rows),
            out.row_stride,
            block,
            sketch.sketch_dim,
            rows_kept.empty() ? nullptr : rows_kept.data(),
            {spread.first.data(), spread.moved.data()},
            run,
            buffer.get(),
            sums.get(),
            signs_in.as<std::uint32_t>(),
            signs_out.as<std::uint32_t>(),
            signs_columns.as<std::uint32_t>()});
  });
}

}  // namespace

void project(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out, int num_threads) {
  check_project(grads, sketch, offset, out);
  if (grads.rows == 0 || grads.cols == 0) return;
  const bool dense = sketch.kind == SketchKind::kRademacher || sketch.kind == SketchKind::kGaussian;
  const double each = dense ? static_cast<double>(sketch.sketch_dim) / 16 : sketch.kind == SketchKind::kMask ? 0.1 : 1.0;
  num_threads = useful_threads(each * static_cast<double>(grads.rows) * static_cast<double>(grads.cols), num_threads);
  switch (sketch.kind) {
    case SketchKind::kRademacher:
    case SketchKind::kGaussian: return project_dense(grads, sketch, offset, out, num_threads);
    case SketchKind::kMask: return project_mask(grads, sketch, offset, out, num_threads);
    case SketchKind::kSjlt: return project_sjlt(grads, sketch, offset, out, num_threads);
    case SketchKind::kSrht: return project_srht(grads, sketch, offset, out, num_threads);
  }
}

}  // namespace fimo

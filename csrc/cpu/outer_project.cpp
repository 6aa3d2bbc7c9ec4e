// SPDX-License-Identifier: Apache-2.0
// Sketches of outer products: checks, chains of sketches, and the sketches of vectors: masks, and tiles of formed gradients.
#include "fimo_fast/outer_project.h"

#include <cmath>
#include <optional>
#include <utility>

#include "common/checks.h"
#include "common/mask.h"
#include "cpu/isa/dispatch.h"
#include "cpu/outer_sketches.h"
#include "cpu/outer_tile.h"
#include "cpu/srht_rows.h"
#include "cpu/workspace.h"
#include "fimo_fast/parallel.h"

namespace fimo {
namespace {

constexpr std::int64_t kTileBytes = std::int64_t{8} << 20;     // of gradients, formed at a time
constexpr std::int64_t kBetweenBytes = std::int64_t{4} << 20;  // of a sketch that another one follows
constexpr std::int64_t kMaxTileBytes = std::int64_t{64} << 20;

/// Rows that fit `bytes`, or a few lanes full of them, or one.
std::int64_t rows_at_once(std::int64_t row_bytes, std::int64_t bytes) {
  return larger(larger(1, smaller(16, kMaxTileBytes / row_bytes)), bytes / row_bytes);
}

/// Where the entries of G that a mask keeps lie in the factors.
struct MaskPositions {
  Workspace row, column, scale;

  MaskPositions(const Sketch& sketch, std::int64_t offset, std::int64_t n, Range outputs, DType acc, int num_threads)
      : row((outputs.end - outputs.begin) * 4),
        column((outputs.end - outputs.begin) * 4),
        scale((outputs.end - outputs.begin) * dtype_size(acc)) {
    constexpr std::int64_t kSome = 512;
    parallel_for(ceil_div(outputs.end - outputs.begin, kSome), num_threads, [&](std::int64_t task) {
      const std::int64_t begin = outputs.begin + task * kSome;
      for (std::int64_t c = begin; c < smaller(begin + kSome, outputs.end); ++c) {
        const MaskEntry entry = mask_entry(sketch.input_dim, sketch.sketch_dim, sketch.seed, c);
        const std::int64_t at = c - outputs.begin;
        row.as<std::uint32_t>()[at] = static_cast<std::uint32_t>((entry.coordinate - offset) / n);
        column.as<std::uint32_t>()[at] = static_cast<std::uint32_t>((entry.coordinate - offset) % n);
        const double root = std::sqrt(static_cast<double>(entry.length));
        if (acc == DType::kFloat64) {
          scale.as<double>()[at] = root;
        } else {
          scale.as<float>()[at] = static_cast<float>(root);
        }
      }
    });
  }
};

/// `kept` are the outputs that keep an entry of the slice at `offset`, and the columns of `out`.
void project_mask(const ConstTensor3View& a, const ConstTensor3View& delta, const Sketch& sketch, std::int64_t offset,
                  Range kept, const MatrixView& out, int num_threads) {
  constexpr std::int64_t kMaxOutputs = std::int64_t{1} << 16;  // positions held at a time
  const auto kernel = kernels().outer_mask[static_cast<int>(a.dtype)];
  for (std::int64_t first = kept.begin; first < kept.end; first += kMaxOutputs) {
    const std::int64_t count = smaller(kMaxOutputs, kept.end - first);
    const int threads = useful_threads(static_cast<double>(a.batch) * static_cast<double>(a.tokens * count), num_threads);
    const MaskPositions positions(sketch, offset, a.dim, {first, first + count}, out.dtype, threads);
    const std::int64_t example_parts = smaller(a.batch, 4 * std::int64_t{threads});
    const std::int64_t output_parts = smaller(ceil_div(threads, example_parts), ceil_div(count, 256));
    parallel_for(example_parts * output_parts, threads, [&](std::int64_t task) {
      const Range examples = part_of(a.batch, example_parts, task / output_parts, 1);
      const Range outputs = part_of(count, output_parts, task % output_parts, 16);
      kernel({advance(a.data, examples.begin * a.batch_stride, a.dtype),
              advance(delta.data, examples.begin * delta.batch_stride, a.dtype), a.batch_stride, a.token_stride,
              delta.batch_stride, delta.token_stride, examples.end - examples.begin, a.tokens, outputs.end - outputs.begin,
              positions.row.as<std::uint32_t>() + outputs.begin, positions.column.as<std::uint32_t>() + outputs.begin,
              advance(positions.scale.get(), outputs.begin, out.dtype),
              advance(out.data, examples.begin * out.row_stride + first - kept.begin + outputs.begin, out.dtype),
              out.row_stride});
    });
  }
}

/// target[e - entries.begin] = entry e of the gradient of example b, flattened row by row.
void form_entries(const Kernels& table, const ConstTensor3View& a, const ConstTensor3View& delta, std::int64_t b, Range entries,
                  const Workspace& packed, void* target) {
  const int type = static_cast<int>(a.dtype);
  const DType acc = accumulator_dtype(a.dtype);
  const std::int64_t n = a.dim;
  // Whole rows at once; the rest of a row where the range begins or ends inside one.
  for (std::int64_t e = entries.begin; e < entries.end;) {
    const std::int64_t row = e / n, column = e % n, left = entries.end - e;
    const std::int64_t cols = smaller(n - column, left), rows = column == 0 ? larger(1, left / n) : 1;
    for (std::int64_t t = 0; t < a.tokens; t += kPartTokens) {
      const std::int64_t depth = smaller(kPartTokens, a.tokens - t);
      const std::int64_t a_at = b * a.batch_stride + t * a.token_stride + column;
      const std::int64_t delta_at = b * delta.batch_stride + t * delta.token_stride + row;
      table.pack[type]({advance(a.data, a_at, a.dtype), 1, a.token_stride, cols, depth, packed.get()});
      table.gram[type]({advance(delta.data, delta_at, a.dtype), 1, delta.token_stride, rows, depth, packed.get(), cols,
                        advance(target, e - entries.begin, acc), cols, t > 0});
    }
    e += rows * cols;
  }
}

/// Tiles of consecutive entries of the formed gradients of some examples, each projected at its offset.
void project_formed(const ConstTensor3View& a, const ConstTensor3View& delta, const Sketch& sketch, std::int64_t offset,
                    const MatrixView& out, int num_threads) {
  const Kernels& table = kernels();
  const DType acc = out.dtype;
  const std::int64_t element = dtype_size(acc), panel = table.panel[static_cast<int>(a.dtype)];
  const bool dense = sketch.kind == SketchKind::kRademacher || sketch.kind == SketchKind::kGaussian;
  // Tiles are cut at multiples of an SRHT's block of the sketch's input, and so give the bits of one piece.
  const std::int64_t unit = sketch.kind == SketchKind::kSrht ? srht_block(sketch) : 1;
  // Long tiles: projecting one reads and writes its rows of out. For dense sketches many rows share the generated entries.
  const std::int64_t wanted = dense ? 16384 : larger(131072, 8 * sketch.sketch_dim);
  // Tiles of one length, rather than a short one at the end: each costs a pass over a.
  const std::int64_t size = a.dim * delta.dim, lead = offset % unit;
  const std::int64_t tile = round_up(ceil_div(lead + size, larger(1, (lead + size + wanted / 2) / wanted)), unit);
  // Tiles cut inside rows of G form these rows whole, unless they are long: one product instead of three.
  const bool whole_rows = a.dim <= tile / 8;
  const std::int64_t stride = smaller(tile + (whole_rows ? 2 * a.dim : 0), size), tile_bytes = stride * element;
  const std::int64_t group = dense ? larger(1, smaller(512, kMaxTileBytes / tile_bytes)) : rows_at_once(tile_bytes, kTileBytes);
  for_groups(a.batch, group, num_threads, [&](Range examples, int threads) {
    const std::int64_t count = examples.end - examples.begin;
    const Workspace formed(count * tile_bytes);
    const MatrixView target = some_rows(out, examples);
    for (std::int64_t begin = -lead; begin < size; begin += tile) {
      const Range entries{larger(begin, 0), smaller(begin + tile, size)};
      const Range rows = whole_rows ? Range{entries.begin / a.dim * a.dim, round_up(entries.end, a.dim)} : entries;
      const std::int64_t parts = smaller(count, threads);
      parallel_for(parts, threads, [&](std::int64_t part) {
        const Workspace packed(smaller(kPartTokens, a.tokens) * round_up(smaller(a.dim, tile), panel) * element);
        const Range some = part_of(count, parts, part, 1);
        for (std::int64_t e = some.begin; e < some.end; ++e) {
          form_entries(table, a, delta, examples.begin + e, rows, packed, advance(formed.get(), e * stride, acc));
        }
      });
      const void* tiles = advance(formed.get(), entries.begin - rows.begin, acc);
      project({tiles, acc, count, entries.end - entries.begin, stride}, sketch, offset + entries.begin, target, threads);
    }
  });
}

/// `sketch` alone. Of a mask, `out` has the columns `reached` only.
void project_outer(const ConstTensor3View& a, const ConstTensor3View& delta, const OuterSketch& sketch, std::int64_t offset,
                   Range reached, const MatrixView& out, int num_threads) {
  if (const auto* factored = std::get_if<FactoredSketch>(&sketch)) {
    project_factored(a, delta, *factored, out, num_threads);
  } else if (const auto* tensor = std::get_if<TensorSketch>(&sketch)) {
    project_tensor(a, delta, *tensor, out, num_threads);
  } else if (std::get<Sketch>(sketch).kind == SketchKind::kMask) {
    project_mask(a, delta, std::get<Sketch>(sketch), offset, reached, out, num_threads);
  } else {
    project_formed(a, delta, std::get<Sketch>(sketch), offset, out, num_threads);
  }
}

}  // namespace

void outer_project(const ConstTensor3View& a, const ConstTensor3View& delta, const OuterSketch& sketch,
                   const std::vector<Sketch>& then, std::optional<std::int64_t> slice, const MatrixView& out, int num_threads) {
  check_outer_project(a, delta, sketch, then, slice, out);
  const DType acc = out.dtype;
  if (a.batch == 0 || a.tokens == 0 || a.dim == 0 || delta.dim == 0) return;
  const std::int64_t offset = slice.value_or(0);
  // What a slice reaches of the first sketch's outputs; the rest of them is zero.
  const auto* mask = std::get_if<Sketch>(&sketch);
  const bool masked = mask && mask->kind == SketchKind::kMask;
  const Range reached = masked ? kept_outputs(*mask, offset, offset + a.dim * delta.dim) : Range{0, sketch_dim(sketch)};
  if (then.empty()) {
    const MatrixView target{advance(out.data, reached.begin, acc), acc, out.rows, reached.end - reached.begin, out.row_stride};
    return project_outer(a, delta, sketch, offset, reached, target, num_threads);
  }

  // Sketches between the first and the last live in two workspaces, for some examples at a time.
  std::int64_t widest = 0;
  for (const Sketch& next : then) widest = larger(widest, next.input_dim);
  const std::int64_t row_bytes = widest * dtype_size(acc);
  const std::int64_t group = rows_at_once(row_bytes, kBetweenBytes);
  for_groups(a.batch, group, num_threads, [&](Range examples, int threads) {
    const std::int64_t count = examples.end - examples.begin;
    Workspace from(count * row_bytes), to(then.size() > 1 ? count * row_bytes : 0);
    const auto zeros = [&](const Workspace& workspace, std::int64_t cols) {
      std::memset(workspace.get(), 0, static_cast<std::size_t>(count * cols * dtype_size(acc)));
      return MatrixView{workspace.get(), acc, count, cols, cols};
    };
    MatrixView last = zeros(from, reached.end - reached.begin);
    project_outer(some_examples(a, examples), some_examples(delta, examples), sketch, offset, reached, last, threads);
    for (std::size_t i = 0; i < then.size(); ++i) {
      const bool is_last = i + 1 == then.size();
      const MatrixView next = is_last ? some_rows(out, examples) : zeros(to, then[i].sketch_dim);
      project({last.data, acc, count, last.cols, last.row_stride}, then[i], i == 0 ? reached.begin : 0, next, threads);
      last = next;
      if (!is_last) std::swap(from, to);
    }
  });
}

}  // namespace fimo

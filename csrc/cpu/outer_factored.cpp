// SPDX-License-Identifier: Apache-2.0
// FactoredSketch: the factors of a chunk of tokens are sketched into a workspace, and their outer products summed from there.
//
// Tokens of an example are summed in parts of at most 256, added to out in order. Parts depend on the sizes only; the cut into
// groups of examples and chunks of tokens depends on threads and caches, and keeps parts whole.
#include "cpu/outer_sketches.h"

#include "cpu/isa/dispatch.h"
#include "cpu/outer_tile.h"
#include "cpu/workspace.h"
#include "fimo_fast/parallel.h"

namespace fimo {
namespace {

constexpr std::int64_t kChunkTokens = 512;    // hides the generation of a dense sketch's entries
constexpr std::int64_t kMinChunkTokens = 16;  // fills the lanes of the SJLT kernel
constexpr std::int64_t kCacheBytes = std::int64_t{1} << 20;
constexpr std::int64_t kMaxChunkBytes = std::int64_t{64} << 20;

/// The given tokens as a matrix with one row stride, copied if they are not evenly spaced.
ConstMatrixView token_rows(const ConstTensor3View& x, Range examples, Range tokens, Workspace& copy) {
  const Factor rows = flatten(some_tokens(some_examples(x, examples), tokens), copy);
  return {rows.data, x.dtype, rows.batch * rows.tokens, x.dim, rows.row_stride};
}

void sketch_tokens(const ConstTensor3View& x, Range examples, Range tokens, const Sketch& sketch, const Workspace& into,
                   int num_threads) {
  Workspace copy;
  const ConstMatrixView rows = token_rows(x, examples, tokens, copy);
  const DType acc = accumulator_dtype(x.dtype);
  std::memset(into.get(), 0, static_cast<std::size_t>(rows.rows * sketch.sketch_dim * dtype_size(acc)));
  project(rows, sketch, 0, {into.get(), acc, rows.rows, sketch.sketch_dim, sketch.sketch_dim}, num_threads);
}

/// Sketches of some consecutive tokens of some consecutive examples.
struct SketchedTokens {
  Range examples;
  std::int64_t tokens;  // of each example
  std::int64_t part;    // tokens summed at a time
  const Workspace& a;
  const Workspace& delta;
};

/// out[b] += sum_t v_t u_t^T, u and v the sketches of a and delta.
void add_outer_products(const SketchedTokens& x, std::int64_t rows, std::int64_t cols, const MatrixView& out, int num_threads) {
  const Kernels& table = kernels();
  const DType acc = out.dtype;
  const int type = static_cast<int>(acc);
  const std::int64_t count = x.examples.end - x.examples.begin;
  num_threads = useful_threads(static_cast<double>(count * x.tokens) / 8 * static_cast<double>(rows * cols), num_threads);
  const std::int64_t example_parts = smaller(count, num_threads);
  const std::int64_t row_parts = smaller(rows, ceil_div(num_threads, example_parts));
  parallel_for(example_parts * row_parts, num_threads, [&](std::int64_t task) {
    const Range examples = part_of(count, example_parts, task / row_parts, 1);
    const Range some = part_of(rows, row_parts, task % row_parts, 1);
    const Workspace packed(packed_bytes(table, smaller(x.part, x.tokens), cols, acc));
    for (std::int64_t e = examples.begin; e < examples.end; ++e) {
      void* target = advance(out.data, (x.examples.begin + e) * out.row_stride + some.begin * cols, acc);
      for (std::int64_t t = 0; t < x.tokens; t += x.part) {
        const std::int64_t first = e * x.tokens + t, depth = smaller(x.part, x.tokens - t);
        table.pack[type]({advance(x.a.get(), first * cols, acc), 1, cols, cols, depth, packed.get()});
        table.gram[type]({advance(x.delta.get(), first * rows + some.begin, acc), 1, rows, some.end - some.begin, depth,
                          packed.get(), cols, target, cols, true});
      }
    }
  });
}

}  // namespace

void project_factored(const ConstTensor3View& a, const ConstTensor3View& delta, const FactoredSketch& sketch,
                      const MatrixView& out, int num_threads) {
  const std::int64_t batch = a.batch, tokens = a.tokens, element = dtype_size(out.dtype);
  const std::int64_t cols = sketch.a.sketch_dim, rows = sketch.delta.sketch_dim, token_bytes = (cols + rows) * element;
  const std::int64_t part = smaller(kPartTokens, larger(1, kMaxChunkBytes / token_bytes));
  const std::int64_t chunk = larger(smaller(kMinChunkTokens, part), smaller(kChunkTokens, kCacheBytes / token_bytes));
  for_groups(batch, larger(1, chunk / tokens), num_threads, [&](Range examples, int threads) {
    const std::int64_t at_once = smaller(tokens, larger(1, chunk / part) * part * threads);
    const std::int64_t count = (examples.end - examples.begin) * at_once;
    const Workspace sketched_a(count * cols * element), sketched_delta(count * rows * element);
    for (std::int64_t first = 0; first < tokens; first += at_once) {
      const Range some{first, smaller(first + at_once, tokens)};
      sketch_tokens(a, examples, some, sketch.a, sketched_a, threads);
      sketch_tokens(delta, examples, some, sketch.delta, sketched_delta, threads);
      add_outer_products({examples, some.end - some.begin, part, sketched_a, sketched_delta}, rows, cols, out, threads);
    }
  });
}

}  // namespace fimo

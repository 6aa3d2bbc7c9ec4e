// SPDX-License-Identifier: Apache-2.0
// Sketches of outer products on CUDA: checks, chains of sketches, and tiles of formed gradients for the sketches of vectors.
#include <variant>

#include "common/sketch_sizes.h"
#include "cuda/device/entry.h"
#include "cuda/device/launch.h"
#include "cuda/outer/form.h"
#include "cuda/outer/outer_launch.h"
#include "cuda/sjlt/sjlt_launch.h"
#include "cuda/srht/srht_launch.h"

namespace fimo::cuda {
namespace {

/// Tiles of consecutive entries of the formed gradients of some examples, each projected at its offset.
void project_formed(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const Sketch& sketch,
                    std::int64_t offset, const MatrixView& out) {
  const std::int64_t size = a.dim * delta.dim;
  // Tiles are cut at multiples of an SRHT's block of the sketch's input, which a cut would transform twice, and of vectors.
  const std::int64_t unit = sketch.kind == SketchKind::kSrht ? larger(32, srht_block(sketch)) : 32;
  const std::int64_t lead = offset % unit, most = round_up(lead + size, unit);
  // All examples at once if their tiles can be long: sketching a tile reads and writes its rows of out.
  const std::int64_t floats = piece_bytes / 4, wanted = smaller(larger(16384, 8 * sketch.sketch_dim), floats);
  const std::int64_t group = smaller(a.batch, larger(1, floats / smaller(most, round_up(wanted, unit))));
  const std::int64_t longest = larger(unit, floats / group / unit * unit);
  const std::int64_t tile = round_up(ceil_div(most, ceil_div(most, longest)), unit);  // of one length, but for the ends
  const std::int64_t stride = round_up(smaller(tile, size), 4);
  const Context::Scope scope(context);
  float* formed = context.take<float>(group * stride);
  for (std::int64_t b = 0; b < a.batch; b += group) {
    const Range examples{b, smaller(b + group, a.batch)};
    for (std::int64_t begin = -lead; begin < size; begin += tile) {
      const Context::Scope each(context);
      const Range entries{larger(begin, 0), smaller(begin + tile, size)};
      form_gradients(context, a, delta, examples, entries, formed, stride);
      project_vectors(context, {formed, DType::kFloat32, examples.end - examples.begin, entries.end - entries.begin, stride},
                      sketch, offset + entries.begin, some_rows(out, examples));
    }
  }
}

/// SRHTs of a few tokens: making an entry costs less than writing and reading it.
bool can_skip_forming(const ConstTensor3View& a, const Sketch& sketch) {
  constexpr std::int64_t kTokens = 8, kMaxDim = std::int64_t{1} << 30;
  return sketch.kind == SketchKind::kSrht && a.tokens <= kTokens && a.dim <= kMaxDim && srht_takes_outer(sketch);
}

/// out += `sketch` alone. Of a mask, `out` has the columns `reached` only.
void project_outer(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const OuterSketch& sketch,
                   std::int64_t offset, Range reached, const MatrixView& out) {
  if (const auto* factored = std::get_if<FactoredSketch>(&sketch)) {
    project_factored(context, a, delta, *factored, true, out);
  } else if (const auto* tensor = std::get_if<TensorSketch>(&sketch)) {
    project_tensor(context, a, delta, *tensor, out);
  } else if (std::get<Sketch>(sketch).kind == SketchKind::kMask) {
    project_outer_mask(context, a, delta, std::get<Sketch>(sketch), offset, reached, out);
  } else if (can_skip_forming(a, std::get<Sketch>(sketch))) {
    const Context::Scope scope(context);
    const ConstTensor3View a_float = as_float(context, a), delta_float = as_float(context, delta);
    project_srht_outer(context, a_float, delta_float, std::get<Sketch>(sketch), offset, out);
  } else {
    project_formed(context, a, delta, std::get<Sketch>(sketch), offset, out);
  }
}

/// `sketch`, then the others one after the other. What lies between two of them is kept for some examples at a time.
void project_chain(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const OuterSketch& sketch,
                   const std::vector<Sketch>& then, std::int64_t offset, Range reached, const MatrixView& out) {
  const auto* factored = std::get_if<FactoredSketch>(&sketch);
  const bool skips = factored && sjlt_takes_products(then[0], a.tokens);  // what lies between the first two
  if (skips && then.size() == 1) return project_factored_sjlt(context, a, delta, *factored, then[0], out);
  std::int64_t widest = 0;
  for (const Sketch& next : then) widest = larger(widest, next.input_dim);
  const std::int64_t group = smaller(a.batch, larger(1, piece_bytes / (4 * widest)));
  const Context::Scope scope(context);
  float* between[2] = {context.take<float>(group * widest), then.size() > 1 ? context.take<float>(group * widest) : nullptr};
  for (std::int64_t b = 0; b < a.batch; b += group) {
    const Context::Scope each(context);
    const Range examples{b, smaller(b + group, a.batch)};
    const ConstTensor3View some_a = some_examples(a, examples), some_delta = some_examples(delta, examples);
    const auto view = [&](std::size_t i, std::int64_t cols) {
      return MatrixView{between[i % 2], DType::kFloat32, some_a.batch, cols, cols};
    };
    const auto zeroed = [&](std::size_t i, std::int64_t cols) {
      zeros(context, between[i % 2], some_a.batch * cols);
      return view(i, cols);
    };
    const std::int64_t cols = reached.end - reached.begin;
    MatrixView last = skips ? zeroed(1, then[0].sketch_dim) : view(0, cols);
    if (skips) {
      project_factored_sjlt(context, some_a, some_delta, *factored, then[0], last);
    } else if (factored) {
      project_factored(context, some_a, some_delta, *factored, false, last);  // which fills all of it
    } else {
      project_outer(context, some_a, some_delta, sketch, offset, reached, zeroed(0, cols));
    }
    for (std::size_t i = skips ? 1 : 0; i < then.size(); ++i) {
      const Context::Scope step(context);
      const MatrixView next = i + 1 == then.size() ? some_rows(out, examples) : zeroed(i + 1, then[i].sketch_dim);
      project_vectors(context, {last.data, DType::kFloat32, last.rows, last.cols, last.row_stride}, then[i],
                      i == 0 ? reached.begin : 0, next);
      last = next;
    }
  }
}

void run(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const OuterSketch& sketch,
         const std::vector<Sketch>& then, std::optional<std::int64_t> slice, const MatrixView& out) {
  check_dtype("a", a.dtype);
  check_outer_project(a, delta, sketch, then, slice, out);
  if (a.batch == 0 || a.tokens == 0 || a.dim == 0 || delta.dim == 0) return;
  const std::int64_t offset = slice.value_or(0);
  // What a slice reaches of the first sketch's outputs; the rest of them is zero.
  const auto* mask = std::get_if<Sketch>(&sketch);
  const bool masked = mask && mask->kind == SketchKind::kMask;
  const Range reached = masked ? kept_outputs(*mask, offset, offset + a.dim * delta.dim) : Range{0, sketch_dim(sketch)};
  if (reached.begin >= reached.end) return;
  if (!then.empty()) return project_chain(context, a, delta, sketch, then, offset, reached, out);
  project_outer(
      context, a, delta, sketch, offset, reached,
      {advance(out.data, reached.begin, out.dtype), out.dtype, out.rows, reached.end - reached.begin, out.row_stride});
}

}  // namespace

void outer_project(const ConstTensor3View& a, const ConstTensor3View& delta, const OuterSketch& sketch,
                   const std::vector<Sketch>& then, std::optional<std::int64_t> offset, const MatrixView& out,
                   const Queue& queue) {
  Context context(queue);
  run(context, a, delta, sketch, then, offset, out);
}

std::int64_t outer_project_workspace(const ConstTensor3View& a, const ConstTensor3View& delta, const OuterSketch& sketch,
                                     const std::vector<Sketch>& then, std::optional<std::int64_t> offset,
                                     const MatrixView& out) {
  return measure([&](Context& context) { run(context, a, delta, sketch, then, offset, out); });
}

}  // namespace fimo::cuda

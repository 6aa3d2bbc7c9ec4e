// SPDX-License-Identifier: Apache-2.0
#include "cuda/outer/form_tile.cuh"

#include "cuda/device/launch.h"
#include "cuda/outer/form.h"
#include "cuda/outer/token_parts.h"

namespace fimo::cuda {
namespace {

constexpr std::int64_t kWantedBlocks = 2 * kMultiprocessors;
constexpr std::int64_t kMinPartTokens = 64;

bool aligned(const void* data, std::int64_t bytes) { return reinterpret_cast<std::uintptr_t>(data) % bytes == 0; }

/// Rows of 16-byte vectors.
bool vectors(const ConstTensor3View& x) {
  const std::int64_t unit = 16 / dtype_size(x.dtype);
  return aligned(x.data, 16) && x.dim % unit == 0 && (x.token_stride % unit == 0 || x.tokens == 1) &&
         (x.batch_stride % unit == 0 || x.batch == 1);
}

template <class Element>
FormTask<Element> task_of(const ConstTensor3View& a, const ConstTensor3View& delta, Range entries, bool accumulate,
                          const MatrixView& out) {
  FormTask<Element> task{};
  task.a = static_cast<const Element*>(a.data);
  task.delta = static_cast<const Element*>(delta.data);
  task.a_batch = a.batch_stride, task.a_token = a.token_stride;
  task.delta_batch = delta.batch_stride, task.delta_token = delta.token_stride;
  task.tokens = a.tokens, task.n = a.dim, task.m = delta.dim;
  task.begin = entries.begin, task.end = entries.end;
  task.out = static_cast<float*>(out.data);
  task.stride = out.row_stride;
  task.accumulate = accumulate;
  task.vector_out =
      aligned(out.data, 16) && a.dim % 4 == 0 && entries.begin % 4 == 0 && (out.row_stride % 4 == 0 || a.batch == 1);
  return task;
}

/// The rows and columns that the entries touch, from multiples of 8 on: vectors stay aligned.
struct Touched {
  Range rows, columns;
};
Touched touched(std::int64_t n, Range entries) {
  const Range rows{entries.begin / n, (entries.end - 1) / n + 1};
  const bool one = rows.end - rows.begin == 1;
  return {{rows.begin / 8 * 8, rows.end}, {one ? entries.begin % n / 8 * 8 : 0, one ? (entries.end - 1) % n + 1 : n}};
}

/// A grid of `tiles` blocks for each example.
unsigned grid(std::int64_t batch, std::int64_t tiles) {
  constexpr std::int64_t kMax = (std::int64_t{1} << 31) - 1;
  require(tiles <= kMax / batch, "a: expected at most 2^31 tiles of gradients, got ", batch, " examples of ", tiles);
  return static_cast<unsigned>(batch * tiles);
}

template <class Element, int kTokens>
void form_few(Context& context, std::int64_t batch, FormTask<Element> task) {
  const Touched some = touched(task.n, {task.begin, task.end});
  const std::int64_t columns = some.columns.end - some.columns.begin, rows = some.rows.end - some.rows.begin;
  std::int64_t lanes = 1, tile = smaller(kFewMaxRows, rows);  // rows that do not exist would take turns
  while (lanes < kFewThreads && lanes * kFewColumns < columns) lanes *= 2;
  task.first_row = some.rows.begin, task.first_column = some.columns.begin;
  task.column_tiles = ceil_div(columns, lanes * kFewColumns);
  while (tile > larger(16, kFewThreads / lanes) && ceil_div(rows, tile) * task.column_tiles * batch < 4 * kWantedBlocks)
    tile /= 2;
  task.row_tiles = ceil_div(rows, tile);
  context.launch(form_few_kernel<Element, kTokens>,
                 {grid(batch, task.row_tiles * task.column_tiles), kFewThreads, sizeof(FormFewShared<kTokens>)}, task,
                 static_cast<int>(lanes), static_cast<int>(tile));
}

template <class Element, int Tile>
void form_tiles(Context& context, std::int64_t batch, FormTask<Element> task, bool vector_in) {
  const Touched some = touched(task.n, {task.begin, task.end});
  task.first_row = some.rows.begin, task.first_column = some.columns.begin;
  task.row_tiles = ceil_div(some.rows.end - some.rows.begin, Tile);
  task.column_tiles = ceil_div(some.columns.end - some.columns.begin, Tile);
  const std::int64_t tiles = task.row_tiles * task.column_tiles, size = task.end - task.begin;
  const Context::Scope scope(context);
  const MatrixView out{task.out, DType::kFloat32, batch, size, task.stride};
  const TokenParts parts(context, task.tokens, tiles * batch, kWantedBlocks, kMinPartTokens, out, kFormDepth);
  if (parts.count() > 1) task.vector_out = task.vector_out && size % 4 == 0;
  context.launch(
      form_tile_kernel<Element, Tile>,
      {dim3(grid(batch, tiles), static_cast<unsigned>(parts.count())), Tile * Tile / 64, sizeof(FormShared<Element, Tile>)},
      task, parts.length(), parts.others(), batch, vector_in);
  parts.add(context);
}

template <class Element>
void run(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, Range entries, bool accumulate,
         const MatrixView& out) {
  const auto task = task_of<Element>(a, delta, entries, accumulate, out);
  const bool vector_in = vectors(a) && vectors(delta);
  if (a.tokens == 1) return form_few<Element, 1>(context, a.batch, task);
  if (a.tokens <= kFewTokens) return form_few<Element, kFewTokens>(context, a.batch, task);
  if (a.dim <= 64 || delta.dim <= 64) return form_tiles<Element, 64>(context, a.batch, task, vector_in);
  form_tiles<Element, 128>(context, a.batch, task, vector_in);
}

}  // namespace

void sum_outer_products(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, Range entries,
                        bool accumulate, const MatrixView& out) {
  if (a.batch == 0 || entries.begin >= entries.end) return;
  switch (a.dtype) {
    case DType::kBFloat16: return run<__nv_bfloat16>(context, a, delta, entries, accumulate, out);
    case DType::kFloat16: return run<__half>(context, a, delta, entries, accumulate, out);
    default: return run<float>(context, a, delta, entries, accumulate, out);
  }
}

void form_gradients(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, Range examples, Range entries,
                    float* gradients, std::int64_t stride) {
  const MatrixView out{gradients, DType::kFloat32, examples.end - examples.begin, entries.end - entries.begin, stride};
  sum_outer_products(context, some_examples(a, examples), some_examples(delta, examples), entries, false, out);
}

}  // namespace fimo::cuda

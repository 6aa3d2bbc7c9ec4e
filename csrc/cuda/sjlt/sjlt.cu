// SPDX-License-Identifier: Apache-2.0
#include "cuda/sjlt/sjlt.cuh"

#include "common/sketch_sizes.h"
#include "cuda/sjlt/sjlt_launch.h"
#include "cuda/sjlt/sjlt_wide.cuh"

namespace fimo::cuda {
namespace {

constexpr std::int64_t kBlocks = 264;  // that run at once on an H100

/// Coordinates of a chunk at most.
std::int64_t sjlt_chunk(const Sketch& sketch) {
  const std::int64_t most = smaller(kSjltPositions, smaller(kSjltEntries, kSjltMeanList * sketch.sketch_dim) / sketch.nonzeros);
  return most >= 32 ? most / 32 * 32 : larger(most, 1);
}

/// The number of parts that keeps `kBlocks` places busy with `units` blocks a part: the fewest whose last wave is nearly full.
std::int64_t parts_for(std::int64_t units, std::int64_t most) {
  std::int64_t best = 1;
  double best_use = 0.0;
  for (std::int64_t waves = 1; waves <= 4; ++waves) {
    const std::int64_t parts = smaller(larger(kBlocks * waves / units, 1), most);
    const std::int64_t taken = ceil_div(parts * units, kBlocks);
    const double use = static_cast<double>(parts * units) / static_cast<double>(taken * kBlocks);
    if (use > 1.05 * best_use) {
      best = parts;
      best_use = use;
    }
  }
  return best;
}

/// Of rows of `cols` numbers, which kernel(source, ...) brings.
template <class Element, class Kernel, class Source>
void run(Context& context, Kernel kernel, const Source& source, std::int64_t cols, const Sketch& sketch, std::int64_t offset,
         const MatrixView& out) {
  using Tile = SjltTile<Element>;
  const std::int64_t k = sketch.sketch_dim, longest = sjlt_chunk(sketch);
  const std::int64_t groups = ceil_div(out.rows, Tile::kRows), ranges = ceil_div(k, Tile::kOwned);
  const std::int64_t starts_stride = round_up(k + 1, 8), entries_stride = round_up(longest * sketch.nonzeros, 8);
  // Segments whose table fits; the chunks of a segment are of the same length for all parts.
  const std::int64_t most = larger(piece_bytes / (2 * (starts_stride + entries_stride)), 1);
  const std::int64_t segments = ceil_div(ceil_div(cols, longest), most);
  const std::int64_t full = ceil_div(ceil_div(cols, longest), segments), segment = full * longest;
  const std::int64_t parts = parts_for(groups * ranges, full);
  const std::int64_t tables = round_up(full, parts);  // chunks are shortened until every part has as many
  SjltTable table{context.take<SjltEntry>(tables * entries_stride), context.take<std::uint16_t>(tables * starts_stride),
                  entries_stride, starts_stride};
  float* sums = parts > 1 ? context.take<float>(parts * out.rows * k) : nullptr;
  for (std::int64_t begin = 0; begin < cols; begin += segment) {
    const std::int64_t count = smaller(segment, cols - begin);
    // As many chunks for every part, of equal length.
    const std::int64_t each = ceil_div(ceil_div(count, longest), parts);
    std::int64_t chunk = ceil_div(count, each * parts);
    if (longest % 32 == 0) chunk = round_up(chunk, 32);
    const std::int64_t chunks = ceil_div(count, smaller(chunk, longest));
    const SjltCut cut{count,
                      groups,
                      static_cast<int>(parts),
                      static_cast<int>(ranges),
                      static_cast<int>(smaller(chunk, longest)),
                      static_cast<int>(chunks),
                      static_cast<int>(ceil_div(chunks, parts))};
    context.launch(sjlt_table_kernel, {static_cast<unsigned>(chunks), kSjltTableThreads, sizeof(SjltTableShared)},
                   static_cast<std::uint64_t>(offset + begin), count, cut.chunk, sjlt_blocks(sketch), static_cast<int>(k),
                   sketch.seed, table);
    context.launch(kernel, {static_cast<unsigned>(parts * groups * ranges), kSjltThreads, sizeof(typename Tile::Shared)},
                   source.from(begin), table, static_cast<int>(k), static_cast<float>(scale_of(sketch)), cut,
                   sums ? sums : static_cast<float*>(out.data), sums ? k : out.row_stride, out.rows * k);
    if (sums) add_parts(context, sums, parts, out);
  }
}

template <class Element>
void run_rows(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset,
              const MatrixView& out) {
  const SjltRows<Element> rows{static_cast<const Element*>(grads.data), grads.rows, grads.row_stride};
  run<Element>(context, sjlt_kernel<Element>, rows, grads.cols, sketch, offset, out);
}

template <class Element>
void run_wide(Context& context, const SjltWideWorkspace& workspace, const ConstMatrixView& grads, SjltPlaces places,
              const Sketch& sketch, const MatrixView& out) {
  const SjltBlocks blocks = sjlt_blocks(sketch);
  const auto* x = static_cast<const Element*>(grads.data);
  const std::int64_t count = places.count;
  const std::int64_t segment = larger(smaller(kSjltWideEntries, kSjltMeanList * sketch.sketch_dim) / sketch.nonzeros, 1);
  const auto grid = [](std::int64_t threads) { return static_cast<unsigned>(ceil_div(threads, kSjltWideThreads)); };
  for (std::int64_t low = 0; low < sketch.sketch_dim; low += kSjltWideRange) {
    const int buckets = static_cast<int>(smaller(kSjltWideRange, sketch.sketch_dim - low));
    for (places.first = 0; places.first < count; places.first += segment) {
      places.count = smaller(segment, count - places.first);
      const unsigned entries = grid(places.count * sketch.nonzeros);
      context.launch(sjlt_wide_clear_kernel, {grid(buckets), kSjltWideThreads}, workspace.starts, buckets);
      context.launch(sjlt_wide_entries_kernel, {entries, kSjltWideThreads}, places, blocks, sketch.seed,
                     static_cast<std::uint32_t>(low), buckets, workspace.starts, nullptr);
      context.launch(sjlt_wide_scan_kernel, {1, kSjltTableThreads, sizeof(SjltScanShared)}, workspace.starts, buckets);
      context.launch(sjlt_wide_entries_kernel, {entries, kSjltWideThreads}, places, blocks, sketch.seed,
                     static_cast<std::uint32_t>(low), buckets, workspace.starts, workspace.entries);
      context.launch(sjlt_wide_sort_kernel, {grid(buckets), kSjltWideThreads}, workspace.starts, buckets, workspace.entries);
      context.launch(sjlt_wide_kernel<Element>,
                     {dim3(grid(buckets), static_cast<unsigned>(smaller(grads.rows, kSjltWideRows))), kSjltWideThreads}, x,
                     grads.rows, grads.row_stride, places, workspace.starts, buckets, workspace.entries,
                     static_cast<float>(scale_of(sketch)), static_cast<float*>(out.data) + low, out.row_stride);
    }
  }
}

}  // namespace

void add_sjlt_wide(Context& context, const SjltWideWorkspace& workspace, const ConstMatrixView& grads, SjltPlaces places,
                   const Sketch& sketch, const MatrixView& out) {
  switch (grads.dtype) {
    case DType::kFloat32: return run_wide<float>(context, workspace, grads, places, sketch, out);
    case DType::kBFloat16: return run_wide<__nv_bfloat16>(context, workspace, grads, places, sketch, out);
    default: return run_wide<__half>(context, workspace, grads, places, sketch, out);
  }
}

void project_sjlt(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset,
                  const MatrixView& out) {
  if (sjlt_is_wide(sketch)) {
    const SjltPlaces places{nullptr, static_cast<std::uint64_t>(offset), 0, 0, 0, 0, grads.cols};
    return add_sjlt_wide(context, SjltWideWorkspace(context), grads, places, sketch, out);
  }
  switch (grads.dtype) {
    case DType::kFloat32: return run_rows<float>(context, grads, sketch, offset, out);
    case DType::kBFloat16: return run_rows<__nv_bfloat16>(context, grads, sketch, offset, out);
    default: return run_rows<__half>(context, grads, sketch, offset, out);
  }
}

bool sjlt_takes_products(const Sketch& sketch, std::int64_t tokens) {
  constexpr std::int64_t kTokens = 8, kMaxDim = std::int64_t{1} << 31;
  return sketch.kind == SketchKind::kSjlt && !sjlt_is_wide(sketch) && tokens <= kTokens && sketch.input_dim <= kMaxDim;
}

void project_sjlt_products(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const Sketch& sketch,
                           const MatrixView& out) {
  const SjltProducts products{
      static_cast<const float*>(a.data), static_cast<const float*>(delta.data), a.batch, static_cast<int>(a.tokens),
      static_cast<int>(a.dim),           static_cast<int>(delta.dim),           0};
  run<float>(context, sjlt_products_kernel, products, a.dim * delta.dim, sketch, 0, out);
}

}  // namespace fimo::cuda

// SPDX-License-Identifier: Apache-2.0
#include "cuda/srht/srht.cuh"

#include "common/sketch_sizes.h"
#include "cuda/device/launch.h"
#include "cuda/srht/srht_launch.h"
#include "cuda/srht/srht_outer.cuh"
#include "cuda/srht/srht_passes.cuh"
#include "cuda/srht/srht_rows.cuh"
#include "cuda/srht/srht_short.cuh"

namespace fimo::cuda {
namespace {

constexpr int kSmallestTile = 11, kLargestTile = 14;
constexpr int kShortestBlock = 5;                                            // of a tile, log2
constexpr std::int64_t kShortRow = 1024, kManyRows = kMultiprocessors * 16;  // for srht_short_kernel

unsigned blocks_of(std::int64_t threads, int each) { return static_cast<unsigned>(ceil_div(threads, each)); }

/// The tables of the kept rows; `rows`: also as a list.
SrhtShuffle shuffle(Context& context, const Sketch& sketch, std::int64_t block, bool rows) {
  SrhtShuffle result{block, sketch.sketch_dim, sketch.seed, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
  result.head = context.take<std::int32_t>(block);
  result.next = context.take<std::int32_t>(sketch.sketch_dim);
  result.kept = context.take<std::uint32_t>(result.words());
  result.chunks = context.take<std::int32_t>(result.chunk_count());
  result.first = context.take<std::int32_t>(result.words());
  result.moved = context.take<std::uint32_t>(5 * result.words());
  if (rows) result.rows = context.take<std::int32_t>(sketch.sketch_dim);
  context.launch(srht_clear_kernel, {blocks_of(block, kRowsThreads), kRowsThreads}, result);
  context.launch(srht_link_kernel, {blocks_of(sketch.sketch_dim, kRowsThreads), kRowsThreads}, result);
  context.launch(srht_keep_kernel, {blocks_of(sketch.sketch_dim, kRowsThreads), kRowsThreads}, result);
  context.launch(srht_count_kernel, {static_cast<unsigned>(result.chunk_count()), kRowsThreads, sizeof(SrhtCounts)}, result);
  return result;
}

/// Over how many blocks of threads to cut a row: the fewest that give the least time, counted in steps of a block that takes a
/// tile for each of its groups. Starting and ending a block takes about as long as one and a half of them. A part has two steps
/// at least.
std::int64_t parts_of(std::int64_t rows, std::int64_t tiles, std::int64_t groups, std::int64_t slots, std::int64_t most) {
  std::int64_t best = 1;
  double least = 0.0;
  for (std::int64_t parts = 1; parts <= most && parts <= larger(1, tiles / (2 * groups)) && parts <= 4 * slots; ++parts) {
    const double waves = static_cast<double>(ceil_div(rows * parts, slots));
    const double time = waves * (static_cast<double>(ceil_div(ceil_div(tiles, parts), groups)) + 1.5);
    if (parts == 1 || time < least) {
      best = parts;
      least = time;
    }
  }
  return best;
}

/// Whether every 16 coordinates of every row begin at a multiple of 16 bytes.
bool vectors(const SrhtTask& task, std::int64_t size) {
  const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(task.x));
  return (address - task.begin % 16 * size) % 16 == 0 && task.row_stride * size % 16 == 0;
}

/// Launches `kernel`: srht_kernel<Element, kBits, kPacked> or one of the same shape that takes `more` after the task.
template <class Element, int kBits, bool kPacked, class Kernel, class... More>
void launch_tiles(Context& context, Kernel kernel, SrhtTask task, const MatrixView& out, const More&... more) {
  using Tile = SrhtTile<Element, kBits, kPacked>;
  constexpr std::int64_t kMostGroups = Tile::kBlockThreads / Tile::kThreads;
  const std::int64_t last = (task.end - 1) >> kBits;
  task.first_tile = task.begin >> kBits;
  task.tiles = last - task.first_tile + 1;
  task.aligned = vectors(task, sizeof(Element));
  require(task.rows < std::int64_t{1} << 31, "grads: expected fewer than 2^31 rows, got ", task.rows);
  const std::int64_t groups = smaller(kMostGroups, task.tiles);
  const std::int64_t most = larger(1, 2 * piece_bytes / (4 * task.rows * task.sketch_dim));
  task.parts = parts_of(task.rows, task.tiles, groups, kMultiprocessors * Tile::kBlocksPerSm, most);
  float* parts = task.parts > 1 ? context.take<float>(task.parts * task.rows * task.sketch_dim) : nullptr;
  task.out = task.parts > 1 ? parts : static_cast<float*>(out.data);
  task.out_stride = task.parts > 1 ? task.sketch_dim : out.row_stride;
  context.launch(kernel,
                 {static_cast<unsigned>(task.rows * task.parts), static_cast<unsigned>(groups * Tile::kThreads),
                  static_cast<std::size_t>(groups) * sizeof(SrhtShared<Element, Tile>)},
                 task, more...);
  if (task.parts > 1) add_parts(context, parts, task.parts, out);
}

template <class Element, int kBits, bool kPacked = false>
void run_tiles(Context& context, const SrhtTask& task, const MatrixView& out) {
  launch_tiles<Element, kBits, kPacked>(context, srht_kernel<Element, kBits, kPacked>, task, out);
}

template <class Element>
void run_short(Context& context, SrhtTask task, const MatrixView& out) {
  task.aligned = vectors(task, sizeof(Element));
  task.out = static_cast<float*>(out.data);
  task.out_stride = out.row_stride;
  context.launch(srht_short_kernel<Element>,
                 {blocks_of(task.rows, kShortThreads / kWarp), kShortThreads, sizeof(SrhtShortShared)}, task);
}

template <class Element>
void run_passes(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, float scale,
                int log2_block, const std::int32_t* rows_kept, const MatrixView& out) {
  const std::int64_t block = std::int64_t{1} << log2_block, k = sketch.sketch_dim;
  const std::int64_t first = offset >> log2_block, last = ((offset + grads.cols - 1) >> log2_block) + 1;
  const std::int64_t items = larger(1, piece_bytes / 2 / block);
  const std::int64_t count = smaller(last - first, items), rows = smaller(grads.rows, larger(1, items / count));
  // Enough parts to fill a device, of 32 blocks at least.
  const std::int64_t parts = larger(1, smaller(ceil_div(kMultiprocessors * 2048, rows * k), count / kWarp));
  float* work = context.take<float>(rows * count * block);
  float* sums = parts > 1 ? context.take<float>(parts * rows * k) : nullptr;
  if (context.is_measuring()) return;
  for (std::int64_t r = 0; r < grads.rows; r += rows) {
    for (std::int64_t b = first; b < last; b += count) {
      const SrhtBlocks now{work, smaller(rows, grads.rows - r), b, smaller(count, last - b), block, sketch.seed};
      const std::int64_t size = now.count * block, low = b * block;
      const std::int64_t warps = ceil_div(low + size - low / 128 * 128, kCopyCoordinates);
      context.launch(srht_copy_kernel<Element>, {blocks_of(now.rows * warps * kWarp, kPassThreads), kPassThreads}, now,
                     static_cast<const Element*>(grads.data) + r * grads.row_stride, grads.row_stride, offset,
                     offset + grads.cols, warps);
      transform_blocks(context, work, now.rows * size, log2_block);
      const MatrixView target{static_cast<float*>(out.data) + r * out.row_stride, out.dtype, now.rows, k, out.row_stride};
      context.launch(srht_sum_kernel, {blocks_of(parts * now.rows * round_up(k, kWarp), kPassThreads), kPassThreads}, now,
                     rows_kept, k, scale, parts, parts > 1 ? sums : static_cast<float*>(target.data),
                     parts > 1 ? k : out.row_stride);
      if (parts > 1) add_parts(context, sums, parts, target);
    }
  }
}

SrhtTask task_of(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, float scale, int log2_block,
                 const SrhtShuffle& kept) {
  SrhtTask task{};
  task.x = grads.data;
  task.row_stride = grads.row_stride;
  task.begin = offset;
  task.end = offset + grads.cols;
  task.rows = grads.rows;
  task.seed = sketch.seed;
  task.log2_block = log2_block;
  task.sketch_dim = static_cast<int>(sketch.sketch_dim);
  task.scale = scale;
  task.kept = {kept.kept, kept.first, kept.moved};
  return task;
}

template <class Element>
void run(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out) {
  const int log2_block = log2_ceil(sketch.sketch_dim);
  const std::int64_t block = std::int64_t{1} << log2_block;
  const bool tiles = log2_block >= kShortestBlock && log2_block <= kLargestTile;
  const auto scale = static_cast<float>(scale_of(sketch));
  SrhtShuffle kept{};
  if (block != sketch.sketch_dim) kept = shuffle(context, sketch, block, !tiles);
  if (!tiles) return run_passes<Element>(context, grads, sketch, offset, scale, log2_block, kept.rows, out);
  const SrhtTask task = task_of(grads, sketch, offset, scale, log2_block, kept);
  if (log2_block <= kShortMaxBits && (grads.cols <= kShortRow || grads.rows >= kManyRows)) {
    return run_short<Element>(context, task, out);
  }
  switch (log2_block) {
    case 11: return run_tiles<Element, 11>(context, task, out);
    case 12: return run_tiles<Element, 12>(context, task, out);
    case 13: return run_tiles<Element, 13>(context, task, out);
    case 14: return run_tiles<Element, 14>(context, task, out);
    default: return run_tiles<Element, kSmallestTile, true>(context, task, out);
  }
}

}  // namespace

const std::int32_t* srht_kept_rows(Context& context, const Sketch& sketch) {
  const std::int64_t block = srht_block(sketch);
  return block == sketch.sketch_dim ? nullptr : shuffle(context, sketch, block, true).rows;
}

void transform_blocks(Context& context, float* work, std::int64_t size, int log2_block) {
  for (int stage = 0; stage < log2_block; stage += 4) {
    const int stages = static_cast<int>(smaller(4, log2_block - stage));
    context.launch(srht_pass_kernel, {blocks_of(size >> stages, kPassThreads), kPassThreads}, work, size, stage, stages);
  }
}

bool srht_takes_outer(const Sketch& sketch) {
  const int log2_block = log2_ceil(sketch.sketch_dim);
  return log2_block >= kShortestBlock && log2_block <= 12;
}

void project_srht_outer(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const Sketch& sketch,
                        std::int64_t offset, const MatrixView& out) {
  const int log2_block = log2_ceil(sketch.sketch_dim);
  SrhtShuffle kept{};
  if (std::int64_t{1} << log2_block != sketch.sketch_dim) kept = shuffle(context, sketch, std::int64_t{1} << log2_block, false);
  const SrhtTask task = task_of({nullptr, DType::kFloat32, a.batch, a.dim * delta.dim, 0}, sketch, offset,
                                static_cast<float>(scale_of(sketch)), log2_block, kept);
  const bool aligned = reinterpret_cast<std::uintptr_t>(a.data) % 16 == 0 && a.dim % 4 == 0 && offset % 4 == 0 &&
                       (a.batch_stride % 4 == 0 || a.batch == 1) && (a.token_stride % 4 == 0 || a.tokens == 1);
  const SrhtOuter outer{static_cast<const float*>(a.data),
                        static_cast<const float*>(delta.data),
                        a.batch_stride,
                        a.token_stride,
                        delta.batch_stride,
                        delta.token_stride,
                        static_cast<int>(a.tokens),
                        static_cast<std::uint32_t>(a.dim),
                        a.dim == 1 ? ~0u : static_cast<std::uint32_t>((std::uint64_t{1} << 32) / a.dim),
                        aligned};
  switch (log2_block) {
    case 11: return launch_tiles<float, 11, false>(context, srht_outer_kernel<11, false>, task, out, outer);
    case 12: return launch_tiles<float, 12, false>(context, srht_outer_kernel<12, false>, task, out, outer);
    default: return launch_tiles<float, kSmallestTile, true>(context, srht_outer_kernel<kSmallestTile, true>, task, out, outer);
  }
}

void project_srht(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset,
                  const MatrixView& out) {
  switch (grads.dtype) {
    case DType::kFloat32: return run<float>(context, grads, sketch, offset, out);
    case DType::kBFloat16: return run<__nv_bfloat16>(context, grads, sketch, offset, out);
    default: return run<__half>(context, grads, sketch, offset, out);
  }
}

}  // namespace fimo::cuda

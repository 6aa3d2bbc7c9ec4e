// SPDX-License-Identifier: Apache-2.0
// Rademacher and Gaussian sketches: tiles of rows, parts of the coordinates.

#include "common/sketch_sizes.h"
#include "cuda/dense/dense_normal.cuh"
#include "cuda/dense/dense_signs.cuh"
#include "cuda/device/launch.h"

namespace fimo::cuda {
namespace {

constexpr std::int64_t kLeastStages = 4;                        // of a part: the first one is not hidden
constexpr std::int64_t kMostPartials = std::int64_t{18} << 20;  // floats of the workspace, beyond one part (which needs none)

/// Stages of a part, so that the blocks fill whole rounds of `side_by_side`.
std::int64_t stages_of_part(std::int64_t stages, std::int64_t tiles, std::int64_t outputs, std::int64_t side_by_side) {
  const std::int64_t most = smaller(ceil_div(stages, kLeastStages), smaller(4 * side_by_side, kMostPartials / outputs));
  std::int64_t best = stages, best_cost = ceil_div(tiles, side_by_side) * (stages + kLeastStages / 2);
  for (std::int64_t parts = 2; parts <= most; ++parts) {
    const std::int64_t length = ceil_div(stages, parts);
    const std::int64_t cost = ceil_div(tiles * ceil_div(stages, length), side_by_side) * (length + kLeastStages / 2);
    if (cost < best_cost) {
      best = length;
      best_cost = cost;
    }
  }
  return best;
}

/// Some rows, in tiles of one shape.
struct Group {
  std::int64_t row, rows;
  int shape;  // Rademacher: 8 rows each, 1 or 4; Gaussian: row groups
};

/// As many full tiles as there are, and a smaller shape for the rest where that takes less time.
template <class Function>
void for_groups(SketchKind kind, std::int64_t rows, const Function& function) {
  const std::int64_t tile = kind == SketchKind::kRademacher ? 32 : 256;
  std::int64_t full = rows / tile * tile;
  const std::int64_t rest = rows - full;
  int shape = 1;
  if (kind == SketchKind::kRademacher) {
    if (rest > 16) full = rows;
  } else {
    if (rest > 128) full = rows;
    shape = rest <= 32 ? 1 : rest <= 64 ? 2 : 4;
  }
  if (full > 0) function(Group{0, full, kind == SketchKind::kRademacher ? 4 : 8});
  if (rows > full) function(Group{full, rows - full, shape});
}

template <class Element, int kRowGroups>
void launch_normal(Context& context, unsigned blocks, const DenseTask& task) {
  context.launch(normal_kernel<Element, kRowGroups>,
                 {blocks, kDenseThreads, sizeof(typename NormalShape<Element, kRowGroups>::Shared)}, task);
}

template <class Element>
void launch(Context& context, SketchKind kind, int shape, unsigned blocks, const DenseTask& task) {
  if (kind == SketchKind::kGaussian) {
    switch (shape) {
      case 1: return launch_normal<Element, 1>(context, blocks, task);
      case 2: return launch_normal<Element, 2>(context, blocks, task);
      case 4: return launch_normal<Element, 4>(context, blocks, task);
      default: return launch_normal<Element, 8>(context, blocks, task);
    }
  } else if (shape == 1) {
    context.launch(signs_kernel<Element, 1>, {blocks, kDenseThreads, sizeof(SignsShared<Element, 1>)}, task);
  } else {
    context.launch(signs_kernel<Element, 4>, {blocks, kDenseThreads, sizeof(SignsShared<Element, 4>)}, task);
  }
}

/// Coordinates of a stage, for a type of this size.
std::int64_t stage_of(std::size_t bytes, int row_groups) {
  const auto stage = [&](auto groups) -> std::int64_t {
    constexpr int kGroups = decltype(groups)::value;
    return bytes == 4 ? NormalShape<float, kGroups>::kStage : NormalShape<__half, kGroups>::kStage;
  };
  switch (row_groups) {
    case 1: return stage(std::integral_constant<int, 1>());
    case 2: return stage(std::integral_constant<int, 2>());
    case 4: return stage(std::integral_constant<int, 4>());
    default: return stage(std::integral_constant<int, 8>());
  }
}

}  // namespace

void project_dense(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset,
                   const MatrixView& out) {
  const bool gaussian = sketch.kind == SketchKind::kGaussian;
  struct Plan {
    Group group;
    std::int64_t stage, tile_rows, col_tiles, part_stages, parts;
  };
  const auto plan_of = [&](const Group& group) {
    Plan plan{group, kSignsStage, 8 * group.shape, ceil_div(sketch.sketch_dim, kSignsColumns), 0, 0};
    if (gaussian) {
      // With eight row groups two tiles share 128 columns.
      const std::int64_t col_tiles =
          group.shape == 8 ? 2 * ceil_div(sketch.sketch_dim, 128) : ceil_div(sketch.sketch_dim, 512 / group.shape);
      plan = {group, stage_of(dtype_size(grads.dtype), group.shape), 32 * group.shape, col_tiles, 0, 0};
    }
    const std::int64_t stages = ceil_div(grads.cols, plan.stage);
    const std::int64_t tiles = ceil_div(group.rows, plan.tile_rows) * plan.col_tiles;
    plan.part_stages = stages_of_part(stages, tiles, group.rows * sketch.sketch_dim,
                                      !gaussian && group.shape == 1 ? 2 * kMultiprocessors : kMultiprocessors);
    plan.parts = ceil_div(stages, plan.part_stages);
    return plan;
  };

  std::int64_t partials = 0;
  for_groups(sketch.kind, grads.rows, [&](const Group& group) {
    const Plan plan = plan_of(group);
    if (plan.parts > 1) partials = larger(partials, plan.parts * group.rows * sketch.sketch_dim);
  });
  float* workspace = partials ? context.take<float>(partials) : nullptr;

  for_groups(sketch.kind, grads.rows, [&](const Group& group) {
    const Plan plan = plan_of(group);
    MatrixView target = out;
    target.data = advance(out.data, group.row * out.row_stride, out.dtype);
    target.rows = group.rows;
    const bool direct = plan.parts == 1;
    DenseTask task{};
    task.x = advance(grads.data, group.row * grads.row_stride, grads.dtype);
    task.rows = group.rows;
    task.dim = grads.cols;
    task.row_stride = grads.row_stride;
    task.cols = sketch.sketch_dim;
    task.first = static_cast<std::uint64_t>(offset);
    task.seed = sketch.seed;
    task.part_length = plan.part_stages * plan.stage;
    task.col_tiles = plan.col_tiles;
    task.row_tiles = ceil_div(group.rows, plan.tile_rows);
    task.scale = static_cast<float>(scale_of(sketch));
    task.aligned = (reinterpret_cast<std::uintptr_t>(task.x) |
                    static_cast<std::uintptr_t>(grads.row_stride) * static_cast<std::uintptr_t>(dtype_size(grads.dtype))) %
                       16 ==
                   0;
    task.add = direct;
    task.target = direct ? static_cast<float*>(target.data) : workspace;
    task.target_row_stride = direct ? out.row_stride : sketch.sketch_dim;
    task.target_part_stride = direct ? 0 : group.rows * sketch.sketch_dim;
    const auto blocks = static_cast<unsigned>(task.col_tiles * task.row_tiles * plan.parts);
    switch (grads.dtype) {
      case DType::kBFloat16: launch<__nv_bfloat16>(context, sketch.kind, group.shape, blocks, task); break;
      case DType::kFloat16: launch<__half>(context, sketch.kind, group.shape, blocks, task); break;
      default: launch<float>(context, sketch.kind, group.shape, blocks, task);
    }
    if (!direct) add_parts(context, workspace, plan.parts, target);
  });
}

}  // namespace fimo::cuda

// SPDX-License-Identifier: Apache-2.0
// topk: rounds over the features. A round appends the scores above each query's threshold to its list; a selection then reduces
// the lists to their k best and raises the thresholds. See topk.cuh.
#include "cuda/score/topk.cuh"

#include "cuda/device/entry.h"
#include "cuda/score/products.h"
#include "cuda/score/topk_select.cuh"
#include "cuda/score/topk_select_warp.cuh"

namespace fimo::cuda {
namespace {

constexpr std::int64_t kSmallK = 512;  // up to which a selection needs a buffer of 2048 keys only
/// The first round keeps every score. The next ones are at most so many times what came before, and in random order find so
/// many times k candidates a query. Candidates cost where there are many queries, rounds where there are few: a launch of a
/// round takes as long as reading 10 MB.
template <class Tile>
constexpr std::int64_t kGrowth = Tile::kRows == 16 ? 64 : 8;
constexpr std::int64_t kGroupQueries = 1024;
constexpr std::int64_t kFewQueries = 16;   // whose selections a block each makes faster than a warp each
constexpr std::int64_t kMostFirst = 8192;  // features of a first round, whose scores all are keys

ConstMatrixView rows_of(const ConstMatrixView& x, Range range) {
  return {advance(x.data, range.begin * x.row_stride, x.dtype), x.dtype, range.end - range.begin, x.cols, x.row_stride};
}

template <class Tile>
class Rounds {
 public:
  /// As in `scores`, the rows of a tile are queries, or features if `turned`.
  Rounds(const ConstMatrixView& queries, const ConstMatrixView& features, const RowScales& scales, std::int64_t k, bool turned)
      : queries_(queries), features_(features), scales_(scales), turned_(turned) {
    const std::int64_t total = features.rows;
    cut_ = turned ? cut_depth<Tile>(total, queries.rows, queries.cols) : cut_depth<Tile>(queries.rows, total, queries.cols);
    lists_.k = k;
    lazy_ = k + larger(k, 256);
    first_ = smaller(k <= kSmallK ? 2048 : 4096, total);
    group_ = smaller(queries.rows, kGroupQueries);
    const std::int64_t fit = piece_bytes / 2 / cut_.parts;  // sums
    if (cut_.parts > 1) group_ = larger(1, smaller(group_, fit / first_));
    most_ = piece_bytes / 2 / group_ - lazy_;
    if (cut_.parts > 1) most_ = smaller(most_, fit / group_);
    if (!turned && cut_.parts == 1 && queries.rows > kFewQueries) {
      // As many as the machine computes in the time of one tile.
      const std::int64_t wave = multiprocessors * Tile::kBlocks / ceil_div(group_, Tile::kRows) * Tile::kCols;
      if (wave <= kMostFirst) first_ = smaller(larger(first_, wave), total);
    }
    fit_ = most_;
    most_ = whole_waves(most_);
    for (std::int64_t first = first_; first < total; first = end_of(first)) longest_ = larger(longest_, end_of(first) - first);
    lists_.capacity = larger(first_, lazy_ + longest_);
  }

  void run(Context& context, const MatrixView& values, std::int64_t* indices) {
    lists_.keys = context.take<TopkKey>(group_ * lists_.capacity);
    lists_.counts = context.take<std::int32_t>(group_);
    lists_.thresholds = context.take<float>(group_);
    if (cut_.parts > 1) sums_ = context.take<typename Tile::Sum>(cut_.parts * group_ * larger(first_, longest_));
    if (context.is_measuring()) return;

    const std::int64_t total = features_.rows;
    for (std::int64_t query = 0; query < queries_.rows; query += group_) {
      const Range group{query, smaller(query + group_, queries_.rows)};
      float* group_values = static_cast<float*>(values.data) + query * values.row_stride;
      for (std::int64_t first = 0, end = 0; first < total; first = end) {
        end = end_of(first);
        score(context, group, {first, end});
        select(context, group.end - query, first == 0 ? end : -1, end == total ? group_values : nullptr, values.row_stride,
               indices + query * lists_.k);
      }
    }
  }

 private:
  /// The end of the round that begins at `first`.
  std::int64_t end_of(std::int64_t first) const {
    if (first == 0) return first_;
    const std::int64_t left = features_.rows - first, grown = kGrowth<Tile> * first;
    return left <= smaller(fit_, grown) ? features_.rows : first + smaller(left, smaller(most_, grown));
  }

  /// The most features of at most `features`, whose tiles with a group of queries are a whole number of waves on an H100.
  std::int64_t whole_waves(std::int64_t features) const {
    const std::int64_t together = multiprocessors * Tile::kBlocks;
    const std::int64_t unit = turned_ ? Tile::kRows : Tile::kCols, other = turned_ ? Tile::kCols : Tile::kRows;
    const std::int64_t beside = ceil_div(group_, other) * cut_.parts, tiles = larger(1, features / unit);
    const std::int64_t waves = tiles * beside / together;
    return larger(1, waves > 0 ? waves * together / beside : tiles) * unit;
  }

  void score(Context& context, Range group, Range range) const {
    const TileRows q = tile_rows(rows_of(queries_, group)), f = tile_rows(rows_of(features_, range));
    const float* q_scales = scales_.queries ? scales_.queries + group.begin : nullptr;
    const float* f_scales = scales_.features ? scales_.features + range.begin : nullptr;
    TopkProducts products{
        turned_ ? f : q, turned_ ? q : f, turned_, {}, {lists_, range.begin}, queries_.cols * Tile::Element::kBytes,
        cut_.part_bytes, cut_.parts};
    products.scales.row_scales = turned_ ? f_scales : q_scales;
    products.scales.col_scales = turned_ ? q_scales : f_scales;
    const std::int64_t tiles = ceil_div(products.a.rows, Tile::kRows) * ceil_div(products.b.rows, Tile::kCols);
    context.launch(topk_product_kernel<Tile>,
                   {static_cast<unsigned>(tiles * cut_.parts), Tile::kThreads, sizeof(TopkShared<Tile>)}, products, sums_);
    if (cut_.parts == 1) return;
    const std::int64_t size = products.a.rows * products.b.rows;
    context.launch(topk_filter_kernel<typename Tile::Sum>,
                   {static_cast<unsigned>(ceil_div(size, kFilterThreads)), kFilterThreads}, products, sums_);
  }

  /// Of lists of `count` keys (negative: as counted). With `values` the results.
  void select(Context& context, std::int64_t queries, std::int64_t count, float* values, std::int64_t values_stride,
              std::int64_t* indices) const {
    const auto launch = [&](auto kernel, std::size_t shared_bytes) {
      context.launch(kernel, {static_cast<unsigned>(queries), kSelectThreads, shared_bytes}, lists_, count, values ? 0 : lazy_,
                     values, values_stride, indices);
    };
    if (lists_.k <= kWarpTopk && queries_.rows > kFewQueries) {
      context.launch(
          topk_select_warp_kernel,
          {static_cast<unsigned>(ceil_div(queries * kWarp, kWarpSelectThreads)), kWarpSelectThreads, sizeof(WarpSelectShared)},
          lists_, queries, count, values ? 0 : lazy_, values, values_stride, indices);
    } else if (lists_.k <= kSmallK) {
      launch(topk_select_kernel<2048>, sizeof(SelectShared<2048>));
    } else {
      launch(topk_select_kernel<4096>, sizeof(SelectShared<4096>));
    }
  }

  ConstMatrixView queries_, features_;
  RowScales scales_;
  bool turned_;
  ProductPlan cut_;
  TopkLists lists_{};
  typename Tile::Sum* sums_ = nullptr;
  std::int64_t group_, lazy_, first_, fit_, most_, longest_ = 0;
};

template <class Element>
void run_type(Context& context, const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k,
              const MatrixView& values, std::int64_t* indices, const RowScales& scales) {
  constexpr std::int64_t kFlatRows = FlatTile<Element>::kRows;
  if (queries.rows <= kFlatRows || features.rows <= kFlatRows) {
    Rounds<FlatTile<Element>>(queries, features, scales, k, queries.rows > kFlatRows).run(context, values, indices);
  } else {
    Rounds<WideTile<Element>>(queries, features, scales, k, false).run(context, values, indices);
  }
}

void run(Context& context, const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k,
         const MatrixView& values, std::int64_t* indices, const RowScales& scales) {
  check_dtype("queries", queries.dtype, true);
  check_topk(queries, features, k, values, scales);
  require(k <= kMaxTopk, "k: expected at most ", kMaxTopk, " on CUDA, got ", k);
  require(features.rows < std::int64_t{1} << 32, "features: expected fewer than 2^32 rows on CUDA, got ", features.rows);
  if (queries.rows == 0) return;
  switch (queries.dtype) {
    case DType::kFloat32: return run_type<Float32>(context, queries, features, k, values, indices, scales);
    case DType::kBFloat16: return run_type<BFloat16>(context, queries, features, k, values, indices, scales);
    case DType::kFloat16: return run_type<Float16>(context, queries, features, k, values, indices, scales);
    case DType::kInt8: return run_type<Int8>(context, queries, features, k, values, indices, scales);
    case DType::kFloat64: break;
  }
}

}  // namespace

void topk(const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k, const MatrixView& values,
          std::int64_t* indices, const Queue& queue, const RowScales& scales) {
  Context context(queue);
  run(context, queries, features, k, values, indices, scales);
}

std::int64_t topk_workspace(const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k,
                            const MatrixView& values, const RowScales& scales) {
  return measure([&](Context& context) { run(context, queries, features, k, values, nullptr, scales); });
}

}  // namespace fimo::cuda

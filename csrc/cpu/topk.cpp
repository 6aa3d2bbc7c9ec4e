// SPDX-License-Identifier: Apache-2.0
// topk: tiles of queries against blocks of features; a task owns one tile of queries and one range of features.
#include <algorithm>
#include <vector>

#include "cpu/score_tile.h"
#include "fimo_fast/parallel.h"

namespace fimo {
namespace {

template <class T>
struct Entry {
  T value;
  std::int64_t index;
};

template <class T>
bool ranks_above(const Entry<T>& a, const Entry<T>& b) {
  const bool nan_a = a.value != a.value, nan_b = b.value != b.value;
  if (nan_a != nan_b) return nan_a;
  if (!nan_a && a.value != b.value) return a.value > b.value;
  return a.index < b.index;
}

/// The lists of one task: the best of each query among a range of features.
struct Lists {
  std::int64_t k = 0;        // entries of each list
  std::vector<char> values;  // [queries, k]
  std::vector<std::int64_t> indices;
};

Lists select(const ScoreSide& queries, const ScoreSide& features, Range range, const ScoreCut& cut, std::int64_t k) {
  const Kernels& table = kernels();
  const DType acc = accumulator_dtype(queries.x.dtype);
  const std::int64_t count = queries.x.rows, element = dtype_size(acc);

  Lists lists;
  lists.k = smaller(k, range.end - range.begin);
  lists.values.resize(static_cast<std::size_t>(count * lists.k * element));
  lists.indices.resize(static_cast<std::size_t>(count * lists.k));

  const ScoreTile tile(cut.swapped ? features : queries, cut.few);
  const std::int64_t padded = cut.swapped ? round_up(count, table.lanes[static_cast<int>(acc)]) : tile.stride();
  const Workspace thresholds(padded * element), transposed(cut.swapped ? features.x.rows * padded * element : 0);
  std::memset(thresholds.get(), 0, static_cast<std::size_t>(padded * element));
  if (cut.swapped) std::memset(transposed.get(), 0, static_cast<std::size_t>(features.x.rows * padded * element));
  for (std::int64_t first = range.begin; first < range.end; first += kBlockRows) {
    const std::int64_t block = smaller(kBlockRows, range.end - first);
    const void* scores = tile.scores(cut.swapped ? queries : features.part({first, first + block}));
    if (cut.swapped) {  // all features are one block: a tile of queries against them
      transpose(acc, scores, tile.stride(), count, block, transposed.get(), padded);
      scores = transposed.get();
    }
    table.topk[static_cast<int>(acc)]({scores, padded, count, block, first, lists.k, smaller(first - range.begin, lists.k),
                                       lists.values.data(), lists.indices.data(), thresholds.get()});
  }
  return lists;
}

/// Writes the best k of one query's lists in order.
template <class T>
void merge(const std::vector<const Lists*>& parts, std::int64_t query, std::int64_t k, T* values, std::int64_t* indices) {
  std::vector<Entry<T>> entries;
  for (const Lists* part : parts) {
    for (std::int64_t i = 0; i < part->k; ++i) {
      T value;
      std::memcpy(&value, part->values.data() + static_cast<std::size_t>(query * part->k + i) * sizeof(T), sizeof(T));
      entries.push_back({value, part->indices[static_cast<std::size_t>(query * part->k + i)]});
    }
  }
  std::partial_sort(entries.begin(), entries.begin() + k, entries.end(), ranks_above<T>);
  for (std::int64_t i = 0; i < k; ++i) {
    values[i] = entries[static_cast<std::size_t>(i)].value;
    indices[i] = entries[static_cast<std::size_t>(i)].index;
  }
}

}  // namespace

void topk(const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k, const MatrixView& values,
          std::int64_t* indices, int num_threads, const RowScales& scales) {
  check_topk(queries, features, k, values, scales);
  const DType acc = accumulator_dtype(queries.dtype);
  if (queries.rows == 0) return;

  num_threads = score_threads(queries, features, num_threads);
  const ScoreSide query_side{queries, scales.queries}, feature_side{features, scales.features};
  // Each part of the features costs lists of k entries a query and their merge.
  const ScoreCut cut = cut_scores(queries, features, features.rows / larger(k, kBlockRows), num_threads);
  const auto tile_range = [&](std::int64_t t) { return Range{t * cut.tile, smaller((t + 1) * cut.tile, queries.rows)}; };
  std::vector<Lists> lists(static_cast<std::size_t>(cut.tiles * cut.parts));
  parallel_for(cut.tiles * cut.parts, num_threads, [&](std::int64_t task) {
    const Range part = part_of(features.rows, cut.parts, task % cut.parts, 1);
    lists[static_cast<std::size_t>(task)] = select(query_side.part(tile_range(task / cut.parts)), feature_side, part, cut, k);
  });
  parallel_for(cut.tiles, num_threads, [&](std::int64_t t) {
    std::vector<const Lists*> of_tile;
    for (std::int64_t p = 0; p < cut.parts; ++p) of_tile.push_back(&lists[static_cast<std::size_t>(t * cut.parts + p)]);
    const Range range = tile_range(t);
    for (std::int64_t q = range.begin; q < range.end; ++q) {
      if (acc == DType::kFloat64) {
        merge(of_tile, q - range.begin, k, static_cast<double*>(values.data) + q * values.row_stride, indices + q * k);
      } else {
        merge(of_tile, q - range.begin, k, static_cast<float*>(values.data) + q * values.row_stride, indices + q * k);
      }
    }
  });
}

}  // namespace fimo

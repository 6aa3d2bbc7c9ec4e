// SPDX-License-Identifier: Apache-2.0
// topk: tiles of queries against blocks of features; a task owns one tile of queries and one range of features.
#include "fimo_fast/topk.h"

#include <algorithm>
#include <vector>

#include "dispatch.h"
#include "fimo_fast/parallel.h"
#include "workspace.h"

namespace fimo {
namespace {

constexpr std::int64_t kTileQueries = 128;
constexpr std::int64_t kBlockFeatures = 240;  // a multiple of every kGramRows; scores of a block: 240 x 128
constexpr std::int64_t kMaxPackedBytes = std::int64_t{4} << 20;

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

Lists select(const Kernels& table, const ConstMatrixView& queries, Range tile, const ConstMatrixView& features, Range range,
             std::int64_t k) {
  const DType acc = accumulator_dtype(queries.dtype);
  const int dtype = static_cast<int>(queries.dtype);
  const std::int64_t count = tile.end - tile.begin, padded = round_up(count, table.panel[dtype]);
  const std::int64_t element = dtype_size(acc), depth = queries.cols;

  Lists lists;
  lists.k = smaller(k, range.end - range.begin);
  lists.values.resize(static_cast<std::size_t>(count * lists.k * element));
  lists.indices.resize(static_cast<std::size_t>(count * lists.k));

  const Workspace packed(padded * depth * element), scores(kBlockFeatures * padded * element), thresholds(padded * element);
  // The padding lanes are compared too: zeros never pass.
  std::memset(scores.get(), 0, static_cast<std::size_t>(kBlockFeatures * padded * element));
  std::memset(thresholds.get(), 0, static_cast<std::size_t>(padded * element));
  table.pack[dtype]({advance(queries.data, tile.begin * queries.row_stride, queries.dtype), queries.row_stride, 1, count, depth,
                     packed.get()});
  for (std::int64_t first = range.begin; first < range.end; first += kBlockFeatures) {
    const std::int64_t block = smaller(kBlockFeatures, range.end - first);
    table.gram[dtype]({advance(features.data, first * features.row_stride, features.dtype), features.row_stride, 1, block,
                       depth, packed.get(), count, scores.get(), padded, false});
    table.topk[static_cast<int>(acc)]({scores.get(), padded, count, block, first, lists.k,
                                       smaller(first - range.begin, lists.k), lists.values.data(), lists.indices.data(),
                                       thresholds.get()});
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
          std::int64_t* indices, int num_threads) {
  require(features.dtype == queries.dtype, "features: expected ", dtype_name(queries.dtype), " like queries, got ",
          dtype_name(features.dtype));
  require(features.cols == queries.cols, "features: expected ", queries.cols, " columns like queries, got ", features.cols);
  require(k >= 1 && k <= features.rows, "k: expected 1 to the number of features = ", features.rows, ", got ", k);
  const DType acc = accumulator_dtype(queries.dtype);
  require(values.rows == queries.rows && values.cols == k, "values: expected shape [", queries.rows, ", ", k, "], got [",
          values.rows, ", ", values.cols, "]");
  require(values.dtype == acc, "values: expected ", dtype_name(acc), ", got ", dtype_name(values.dtype));
  if (queries.rows == 0) return;

  const Kernels& table = kernels();
  const std::int64_t panel = table.panel[static_cast<int>(queries.dtype)];
  const std::int64_t fitting = kMaxPackedBytes / ((queries.cols + 1) * dtype_size(acc)) / panel * panel;
  const std::int64_t tile = smaller(kTileQueries, larger(panel, fitting));
  const std::int64_t tiles = ceil_div(queries.rows, tile);
  // Features are cut only as far as the threads need it: each cut costs lists of k entries a query and their merge.
  const std::int64_t most_parts = larger(1, features.rows / larger(k, kBlockFeatures));
  const std::int64_t parts = larger(1, smaller(most_parts, ceil_div(num_threads, tiles)));
  std::vector<Lists> lists(static_cast<std::size_t>(tiles * parts));
  parallel_for(tiles * parts, num_threads, [&](std::int64_t task) {
    const std::int64_t first = task / parts * tile;
    const Range part = part_of(features.rows, parts, task % parts, 1);
    lists[static_cast<std::size_t>(task)] =
        select(table, queries, {first, smaller(first + tile, queries.rows)}, features, part, k);
  });
  parallel_for(ceil_div(queries.rows, tile), num_threads, [&](std::int64_t t) {
    std::vector<const Lists*> of_tile;
    for (std::int64_t p = 0; p < parts; ++p) of_tile.push_back(&lists[static_cast<std::size_t>(t * parts + p)]);
    for (std::int64_t q = t * tile; q < smaller((t + 1) * tile, queries.rows); ++q) {
      if (acc == DType::kFloat64) {
        merge(of_tile, q - t * tile, k, static_cast<double*>(values.data) + q * values.row_stride, indices + q * k);
      } else {
        merge(of_tile, q - t * tile, k, static_cast<float*>(values.data) + q * values.row_stride, indices + q * k);
      }
    }
  });
}

}  // namespace fimo

// SPDX-License-Identifier: Apache-2.0
// scores: tiles of queries against blocks of features, each written where it belongs.
#include "cpu/score_tile.h"
#include "fimo_fast/parallel.h"

namespace fimo {

void scores(const ConstMatrixView& queries, const ConstMatrixView& features, const MatrixView& out, int num_threads,
            const RowScales& scales) {
  check_score_inputs(queries, features, scales);
  const DType acc = accumulator_dtype(queries.dtype);
  check_out(out, queries.rows, features.rows, queries.dtype);
  if (queries.rows == 0 || features.rows == 0) return;

  num_threads = score_threads(queries, features, num_threads);
  const ScoreSide query_side{queries, scales.queries}, feature_side{features, scales.features};
  const auto target = [&](std::int64_t q, std::int64_t n) { return advance(out.data, q * out.row_stride + n, acc); };
  const ScoreCut cut = cut_scores(queries, features, ceil_div(features.rows, kBlockRows), num_threads);
  if (cut.swapped) {
    const std::int64_t parts = smaller(ceil_div(queries.rows, kBlockRows), 4 * num_threads);
    parallel_for(parts, num_threads, [&](std::int64_t task) {
      const Range range = part_of(queries.rows, parts, task, 1);
      const ScoreTile tile(feature_side, cut.few);
      for (std::int64_t first = range.begin; first < range.end; first += kBlockRows) {
        const std::int64_t block = smaller(kBlockRows, range.end - first);
        const void* scores = tile.scores(query_side.part({first, first + block}));
        for (std::int64_t i = 0; i < block; ++i) {
          std::memcpy(target(first + i, 0), advance(scores, i * tile.stride(), acc),
                      static_cast<std::size_t>(features.rows * dtype_size(acc)));
        }
      }
    });
    return;
  }
  parallel_for(cut.tiles * cut.parts, num_threads, [&](std::int64_t task) {
    const std::int64_t first_query = task / cut.parts * cut.tile;
    const std::int64_t count = smaller(cut.tile, queries.rows - first_query);
    const Range range = part_of(features.rows, cut.parts, task % cut.parts, 1);
    const ScoreTile tile(query_side.part({first_query, first_query + count}), cut.few);
    for (std::int64_t first = range.begin; first < range.end; first += kBlockRows) {
      const std::int64_t block = smaller(kBlockRows, range.end - first);
      const void* scores = tile.scores(feature_side.part({first, first + block}));
      transpose(acc, scores, tile.stride(), block, count, target(first_query, first), out.row_stride);
    }
  });
}

}  // namespace fimo

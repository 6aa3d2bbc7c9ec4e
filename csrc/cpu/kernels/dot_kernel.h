// SPDX-License-Identifier: Apache-2.0
/// \file
/// Inner products of many rows with at most kMaxDotVectors vectors, at the speed of reading the rows.
///
/// A packed panel (gram_kernel.h) would multiply its padding. Here registers lie along the depth: kRows rows share each load of
/// a vector and kVectors vectors each load of a row, and a pair has kStep partial sums of its own, by depth modulo kStep. The
/// depth is cut into parts of 2 KiB of prepared words, after each of which the partial sums are added up in a fixed tree: all
/// vectors of a part stay in the first-level cache. While a tile of rows is read, the next one is fetched.
///
/// Floor: each row once from memory. With 8 vectors the multiply-adds come near it (8 for 32 bytes of float32, 16 for 32 bytes
/// of bfloat16, where two can start a cycle).
#pragma once

#include <cstdint>

namespace fimo {

/// The most vectors the kernel for few vectors takes; more of them are packed.
constexpr std::int64_t kMaxDotVectors = 8;

/// Vectors for DotTask, converted: [steps, vector_count, words of a step], with dot_step elements a step.
struct DotPrepareTask {
  const void* source;
  std::int64_t vector_stride;
  std::int64_t vector_count;
  std::int64_t depth;
  void* prepared;
};

/// out[i, v] = sum_d rows[i, d] * vectors[v, d].
struct DotTask {
  const void* rows;
  std::int64_t row_stride;
  std::int64_t row_count;
  std::int64_t depth;
  const void* vectors;  // from DotPrepareTask
  std::int64_t vector_count;
  void* out;
  std::int64_t out_stride;
};

}  // namespace fimo

#if defined(FIMO_ISA)
namespace fimo::FIMO_ISA {
namespace {

template <class Element>
using DotWord = typename DotSimd<Element>::Word;
/// Elements in a word and in a step, and words of a step.
template <class Element>
constexpr int kDotGroup = DotSimd<Element>::kGroup;
template <class Element>
constexpr int kDotStep = DotSimd<Element>::kStep;
template <class Element>
constexpr int kDotWords = kDotStep<Element> / kDotGroup<Element>;
/// Depth of a part.
template <class Element>
constexpr std::int64_t kDotPart = 2048 / sizeof(DotWord<Element>) * kDotGroup<Element>;

template <class Element, int Rows, int Vectors>
FIMO_FORCE_INLINE void dot_step(typename DotSimd<Element>::Sum (&sum)[Rows][Vectors], const Element* rows,
                                std::int64_t row_stride, const DotWord<Element>* vectors) {
  using S = DotSimd<Element>;
  typename S::Side row[Rows];
  FIMO_UNROLL
  for (int r = 0; r < Rows; ++r) row[r] = S::load_row(rows + r * row_stride);
  FIMO_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    const typename S::Side column = S::load(vectors + v * kDotWords<Element>);
    FIMO_UNROLL
    for (int r = 0; r < Rows; ++r) sum[r][v] = S::dot(row[r], column, sum[r][v]);
  }
}

/// out[r, v] (+)= <rows[r], vectors[v]> for Rows rows and Vectors vectors, over one part.
template <class Element, int Rows, int Vectors>
void dot_tile(const Element* rows, std::int64_t row_stride, const Element* ahead, std::int64_t depth,
              const DotWord<Element>* vectors, std::int64_t step_words, DotWord<Element>* out, std::int64_t out_stride,
              bool accumulate) {
  using S = DotSimd<Element>;
  constexpr int kLine = 64 / static_cast<int>(S::kStep * sizeof(Element));  // steps of a cache line
  typename S::Sum sum[Rows][Vectors];
  FIMO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FIMO_UNROLL
    for (int v = 0; v < Vectors; ++v) sum[r][v] = S::zero();
  }
  const std::int64_t row_bytes = depth * static_cast<std::int64_t>(sizeof(Element));
  const char* line = reinterpret_cast<const char*>(ahead);
  const char* line_end = line + row_bytes;
  std::int64_t d = 0;
  for (; d + kLine * S::kStep <= depth; d += kLine * S::kStep) {
    // Lines of a later tile row by row, an order that the hardware's own prefetcher follows too; to the second-level cache,
    // because the first one has too few fill buffers to hide the latency.
    FIMO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      __builtin_prefetch(line, 0, 2);
      line += 64;
      if (line >= line_end) {
        line += (row_stride - depth) * static_cast<std::int64_t>(sizeof(Element));
        line_end = line + row_bytes;
      }
    }
    FIMO_UNROLL
    for (int i = 0; i < kLine; ++i) {
      dot_step<Element>(sum, rows + d + i * S::kStep, row_stride, vectors);
      vectors += step_words;
    }
  }
  for (; d + S::kStep <= depth; d += S::kStep) {
    dot_step<Element>(sum, rows + d, row_stride, vectors);
    vectors += step_words;
  }
  if (d < depth) {
    Element rest[Rows * S::kStep] = {};
    for (int r = 0; r < Rows; ++r) {
      for (std::int64_t i = d; i < depth; ++i) rest[r * S::kStep + i - d] = rows[r * row_stride + i];
    }
    dot_step<Element>(sum, rest, S::kStep, vectors);
  }
  for (int r = 0; r < Rows; ++r) {
    DotWord<Element> total[Vectors];
    int v = 0;
    FIMO_UNROLL
    for (; v + 4 <= Vectors; v += 4) S::sum4(sum[r][v], sum[r][v + 1], sum[r][v + 2], sum[r][v + 3], total + v);
    FIMO_UNROLL
    for (; v < Vectors; ++v) total[v] = S::sum(sum[r][v]);
    FIMO_UNROLL
    for (v = 0; v < Vectors; ++v) {
      DotWord<Element>* target = out + r * out_stride + v;
      *target = accumulate ? *target + total[v] : total[v];
    }
  }
}

/// dot_tile for a run-time number of vectors in [1, Vectors].
template <class Element, int Rows, int Vectors>
void dot_vectors(std::int64_t count, const Element* rows, std::int64_t row_stride, const Element* ahead, std::int64_t depth,
                 const DotWord<Element>* vectors, std::int64_t step_words, DotWord<Element>* out, std::int64_t out_stride,
                 bool accumulate) {
  if constexpr (Vectors > 1) {
    if (count < Vectors) {
      dot_vectors<Element, Rows, Vectors - 1>(count, rows, row_stride, ahead, depth, vectors, step_words, out, out_stride,
                                              accumulate);
      return;
    }
  }
  dot_tile<Element, Rows, Vectors>(rows, row_stride, ahead, depth, vectors, step_words, out, out_stride, accumulate);
}

/// The tiles of a task in the order they are read: a block of rows at a time, all rows of the block for each part of the depth.
struct TileOrder {
  std::int64_t row_count, depth;  // of the task
  std::int64_t tile_rows, part;   // of a tile
  std::int64_t block_rows;        // a multiple of tile_rows

  struct Place {
    std::int64_t block, part, row;
  };
  std::int64_t block_end(std::int64_t block) const { return row_count - block < block_rows ? row_count : block + block_rows; }
  Place after(Place at, std::int64_t tiles) const {
    if (depth <= part) {  // blocks follow one another without a gap
      const std::int64_t row = at.row + tiles * tile_rows;
      return row < row_count ? Place{row, 0, row} : at;
    }
    for (; tiles > 0; --tiles) {
      Place next = {at.block, at.part, at.row + tile_rows};
      if (next.row >= block_end(at.block)) next = {at.block, at.part + part, at.block};
      if (next.part >= depth) next = {block_end(at.block), 0, block_end(at.block)};
      if (next.row >= row_count) return at;
      at = next;
    }
    return at;
  }
};

template <class Element>
void dot(const DotTask& task) {
  using S = DotSimd<Element>;
  using Word = DotWord<Element>;
  constexpr std::int64_t kL1 = 16 << 10;         // bytes of vectors that may stay in the first-level cache
  constexpr std::int64_t kAheadBytes = 8 << 10;  // from what is read to what is fetched
  const Element* rows = static_cast<const Element*>(task.rows);
  Word* out = static_cast<Word*>(task.out);
  const std::int64_t step_words = task.vector_count * kDotWords<Element>;
  const std::int64_t vector_bytes =
      task.depth / kDotGroup<Element> * task.vector_count * static_cast<std::int64_t>(sizeof(Word));
  // Where not all parts of the vectors fit, some tiles of rows share one.
  const TileOrder order{task.row_count, task.depth, S::kRows, kDotPart<Element>, (vector_bytes <= kL1 ? 1 : 8) * S::kRows};
  const std::int64_t part_depth = task.depth < order.part ? task.depth : order.part;
  const std::int64_t tile_bytes = S::kRows * part_depth * static_cast<std::int64_t>(sizeof(Element));
  const std::int64_t ahead_tiles = 1 + kAheadBytes / (tile_bytes + 1);
  for (std::int64_t block = 0; block < task.row_count; block += order.block_rows) {
    const std::int64_t block_end = order.block_end(block);
    std::int64_t part = 0;
    do {
      const std::int64_t depth = task.depth - part < order.part ? task.depth - part : order.part;
      const Word* part_vectors = static_cast<const Word*>(task.vectors) + part / S::kStep * step_words;
      for (std::int64_t i = block; i < block_end; i += S::kRows) {
        const std::int64_t count = block_end - i < S::kRows ? block_end - i : S::kRows;
        const Element* at = rows + i * task.row_stride + part;
        const TileOrder::Place later = order.after({block, part, i}, ahead_tiles);
        const Element* ahead = rows + later.row * task.row_stride + later.part;
        for (std::int64_t v = 0; v < task.vector_count; v += S::kVectors) {
          const std::int64_t vectors = task.vector_count - v < S::kVectors ? task.vector_count - v : S::kVectors;
          const Word* words = part_vectors + v * kDotWords<Element>;
          Word* target = out + i * task.out_stride + v;
          if (count == S::kRows) {
            dot_vectors<Element, S::kRows, S::kVectors>(vectors, at, task.row_stride, ahead, depth, words, step_words, target,
                                                        task.out_stride, part > 0);
            continue;
          }
          for (std::int64_t r = 0; r < count; ++r) {
            dot_vectors<Element, 1, S::kVectors>(vectors, at + r * task.row_stride, task.row_stride, ahead, depth, words,
                                                 step_words, target + r * task.out_stride, task.out_stride, part > 0);
          }
        }
      }
      part += depth;
    } while (part < task.depth);
  }
}

/// Vectors enter the kernel in registers of words, those of one step side by side: [steps, vector_count, words], zeros behind
/// the depth.
template <class Element>
void dot_prepare(const DotPrepareTask& task) {
  using S = DotSimd<Element>;
  using Word = DotWord<Element>;
  Word* prepared = static_cast<Word*>(task.prepared);
  for (std::int64_t v = 0; v < task.vector_count; ++v) {
    const Element* source = static_cast<const Element*>(task.source) + v * task.vector_stride;
    Word* target = prepared + v * kDotWords<Element>;
    std::int64_t d = 0;
    for (; d + S::kStep <= task.depth; d += S::kStep, target += task.vector_count * kDotWords<Element>) {
      S::store(target, S::load_column(source + d));
    }
    if (d == task.depth) continue;
    Element rest[S::kStep] = {};
    for (std::int64_t i = d; i < task.depth; ++i) rest[i - d] = source[i];
    S::store(target, S::load_column(rest));
  }
}

}  // namespace
}  // namespace fimo::FIMO_ISA
#endif

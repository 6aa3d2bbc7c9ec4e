// SPDX-License-Identifier: Apache-2.0
/// \file
/// SRHT with blocks of 32 to 128 coordinates, of rows that are short or many: the factors of LoGra.
///
/// A warp has a row: it takes 128 coordinates at a time, four neighbours in a lane, whose first two stages are in registers and
/// the others shuffles. The random bits are the same for all rows, so that a block makes them once for its eight rows.
///
/// Floor: every element read once. Instructions of a warp for 128 coordinates of L = 64: 16 shuffles and as many multiply-adds,
/// 8 additions, 8 for the signs in and 12 for the signs out with their sums, 15 for places: about 75, which an H100 issues in
/// half of the time that the memory takes for 128 float32, and in all of it for 16 bits.
#pragma once

#include "cuda/srht/srht.cuh"

namespace fimo::cuda {

constexpr int kShortThreads = 256;
constexpr int kShortMaxBits = 7;       // of a block
constexpr int kShortStep = 4 * kWarp;  // coordinates
constexpr int kShortAhead = 4;         // steps whose loads are under way at the same time
constexpr int kShortSigns = 2048;      // coordinates whose signs lie in shared memory, beginning at a multiple

/// Signs in by coordinate; signs out by column, 2^log2_block / 32 words a block. Of those, two neighbours are read at a time.
struct SrhtShortShared {
  std::uint32_t in[kShortSigns / 32], out[kShortSigns / 32 + 1];
};

/// Called by all threads.
FIMO_DEVICE void srht_short_signs(const SrhtTask& task, std::int64_t start, SrhtShortShared& s) {
  constexpr int kIn = kShortSigns / 128;
  const int blocks = kShortSigns >> task.log2_block, words = 1 << (task.log2_block - 5);
  for (int i = static_cast<int>(threadIdx.x); i < kIn + blocks; i += kShortThreads) {
    const bool is_in = i < kIn;
    const std::int64_t index = is_in ? start / 128 + i : (start >> task.log2_block) + (i - kIn);
    const PhiloxBlock bits = philox(static_cast<std::uint64_t>(index), 0, is_in ? kStreamSrhtIn : kStreamSrhtOut, task.seed);
    std::uint32_t* to = is_in ? s.in + 4 * i : s.out + (i - kIn) * words;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      if (is_in || w < words) to[w] = bits.word[w];
    }
  }
  if (threadIdx.x == 0) s.out[kShortSigns / 32] = 0;
}

/// Four elements side by side as they lie in memory, and as floats.
template <class Element>
struct SrhtFour {
  uint2 words;
  FIMO_DEVICE float value(int i) const {
    const std::uint32_t word = i < 2 ? words.x : words.y, bits = i % 2 == 0 ? word & 0xFFFFu : word >> 16;
    if constexpr (std::is_same_v<Element, __nv_bfloat16>) {
      return __uint_as_float(bits << 16);
    } else {
      return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
    }
  }
};
template <>
struct SrhtFour<float> {
  uint4 words;
  FIMO_DEVICE float value(int i) const {
    return __uint_as_float(i < 2 ? (i == 0 ? words.x : words.y) : (i == 2 ? words.z : words.w));
  }
};

template <class Element>
__global__ void __launch_bounds__(kShortThreads) srht_short_kernel(const SrhtTask task) {
  SrhtShortShared& s = shared<SrhtShortShared>();
  const int lane = static_cast<int>(threadIdx.x) % kWarp, log2_block = task.log2_block, size = 1 << log2_block;
  const std::int64_t row =
      static_cast<std::int64_t>(blockIdx.x) * (kShortThreads / kWarp) + static_cast<std::int64_t>(threadIdx.x / kWarp);
  const Element* x = static_cast<const Element*>(task.x) + row * task.row_stride;
  // The lane's four rows of the transform, and the columns of those that are kept.
  const int first_row = 4 * lane & (size - 1);
  int column = first_row;
  unsigned kept = 15;
  if (task.kept.kept) {
    const std::uint32_t word = task.kept.kept[first_row / 32];
    column = task.kept.first[first_row / 32] + __popc(word & ((1u << first_row % 32) - 1));
    kept = word >> first_row % 32 & 15;
  }
  int rank[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) rank[i] = __popc(kept & ((1u << i) - 1));

  const bool vectors = task.aligned && task.begin % 4 == 0 && task.end % 4 == 0;  // all four of a lane, or none
  float sums[4] = {};
  const std::int64_t begin = task.begin / kShortSigns * kShortSigns;
#pragma unroll 1
  for (std::int64_t start = begin; start < task.end; start += kShortSigns) {
    if (start > begin) __syncthreads();
    srht_short_signs(task, start, s);
    __syncthreads();
    if (row >= task.rows) continue;
    const std::int64_t before = task.begin - start;
    const int end = task.end - start < kShortSigns ? static_cast<int>(task.end - start) : kShortSigns;
    const int last = (end + kShortStep - 1) / kShortStep;
#pragma unroll 1
    for (int step = before > 0 ? static_cast<int>(before / kShortStep) : 0; step < last; step += kShortAhead) {
      float v[kShortAhead][4];
      if (vectors) {
        SrhtFour<Element> four[kShortAhead] = {};
#pragma unroll
        for (int ahead = 0; ahead < kShortAhead; ++ahead) {
          const int j = (step + ahead) * kShortStep + 4 * lane;
          if (j >= before && j < end) four[ahead] = *reinterpret_cast<const SrhtFour<Element>*>(x + (j - before));
        }
#pragma unroll
        for (int i = 0; i < 4 * kShortAhead; ++i) v[i / 4][i % 4] = four[i / 4].value(i % 4);
      } else {
#pragma unroll
        for (int i = 0; i < 4 * kShortAhead; ++i) {
          const int j = (step + i / 4) * kShortStep + 4 * lane + i % 4;
          v[i / 4][i % 4] = j >= before && j < end ? static_cast<float>(x[j - before]) : 0.0f;
        }
      }
#pragma unroll
      for (int ahead = 0; ahead < kShortAhead; ++ahead) {
        if (step + ahead >= last) break;
        const int j = (step + ahead) * kShortStep + 4 * lane;
        const std::uint32_t in = s.in[j / 32] >> j % 32;
#pragma unroll
        for (int i = 0; i < 4; ++i) v[ahead][i] = flip_sign(v[ahead][i], in, i);
        hadamard_registers(v[ahead]);
#pragma unroll
        for (int bit = 2; bit < kShortMaxBits; ++bit) {
          if (bit >= log2_block) break;
          const int apart = 1 << (bit - 2);
          const float own = lane & apart ? -1.0f : 1.0f;
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            v[ahead][i] = fmaf(own, v[ahead][i], __shfl_xor_sync(kAllLanes, v[ahead][i], apart));
          }
        }
        const std::uint32_t* out = s.out + (j >> log2_block << (log2_block - 5)) + column / 32;
        const std::uint32_t signs = __funnelshift_r(out[0], out[1], static_cast<unsigned>(column % 32));
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[i] += flip_sign(v[ahead][i], signs, rank[i]);
      }
    }
  }
  if (row >= task.rows) return;
#pragma unroll 1
  for (int apart = size / 4; apart < kWarp; apart *= 2) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[i] += __shfl_xor_sync(kAllLanes, sums[i], apart);
  }
  if (4 * lane >= size) return;
  float* out = task.out + row * task.out_stride + column;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (kept >> i & 1) out[rank[i]] += sums[i] * task.scale;
  }
}

}  // namespace fimo::cuda

// SPDX-License-Identifier: Apache-2.0
/// \file
/// out[b] = ||sum_t delta[b,t] a[b,t]^T||^2.
///
/// One token: |a|^2 |delta|^2. Floor: every input once; a block reads 8192 elements of a row, or a warp a short row, 16 bytes a
/// load where addresses allow. More: the tiles of pair_tile.cuh on the diagonal. Floor: B T^2 (n + m) operations by symmetry,
/// or every input once. Up to 64 tokens a tile has several examples, and its rows are also its columns: warps leave out tiles
/// of 16 x 32 pairs that have none of one example. Above, tiles above the diagonal count twice.
#pragma once

#include "cuda/outer/pair_tile.cuh"

namespace fimo::cuda {

constexpr int kSquaresPart = 8192, kSquaresThreads = 256;
constexpr int kShortRow = 2048;

/// Rows of which sums of squares are wanted, each in `parts` parts of kSquaresPart elements.
struct SquaresRows {
  const void* data;
  std::int64_t stride, cols, parts;  // in elements
};

struct SquaresShared {
  float sums[kSquaresThreads / kWarp];
};

template <class Element>
FIMO_DEVICE float value_of(std::uint32_t bits) {
  if constexpr (Element::kType == DType::kFloat32) {
    return __uint_as_float(bits);
  } else if constexpr (Element::kType == DType::kBFloat16) {
    return __uint_as_float(bits << 16);
  } else {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
  }
}

/// sums[p * sums_stride + b]: part p of row b of `first`, then those of `second`. kLanes threads have one: a warp where rows
/// are short (up to kShortRow), else the block. Blocks first go through the rows of a part.
template <class Element, int kLanes>
__global__ void __launch_bounds__(kSquaresThreads)
    sum_squares_kernel(SquaresRows first, SquaresRows second, std::int64_t batch, float* sums, std::int64_t sums_stride) {
  constexpr int kVector = 16 / Element::kBytes, kBits = 8 * Element::kBytes, kRows = kSquaresThreads / kLanes;
  const unsigned blocks = static_cast<unsigned>((batch + kRows - 1) / kRows);
  const int index = static_cast<int>(blockIdx.x / blocks), thread = static_cast<int>(threadIdx.x) % kLanes;
  const std::int64_t row =
      static_cast<std::int64_t>(blockIdx.x % blocks) * kRows + static_cast<std::int64_t>(threadIdx.x) / kLanes;
  if (kLanes == kWarp && row >= batch) return;
  const bool is_first = index < first.parts;
  const SquaresRows& rows = is_first ? first : second;
  const std::int64_t begin = (is_first ? index : index - first.parts) * kSquaresPart;
  const std::int64_t left = rows.cols - begin;
  const int count = left < kSquaresPart ? static_cast<int>(left) : kSquaresPart;
  const char* data = static_cast<const char*>(rows.data) + (row * rows.stride + begin) * Element::kBytes;

  float sum = 0.0f;
  const int vectors = reinterpret_cast<std::uintptr_t>(data) % 16 == 0 ? count / kVector : 0;
#pragma unroll 4
  for (int i = thread; i < vectors; i += kLanes) {
    const uint4 vector = reinterpret_cast<const uint4*>(data)[i];
    const std::uint32_t words[4] = {vector.x, vector.y, vector.z, vector.w};
#pragma unroll
    for (int e = 0; e < kVector; ++e) {
      const std::uint32_t bits = words[e * kBits / 32] >> (e * kBits % 32);
      const float x = value_of<Element>(kBits == 16 ? bits & 0xFFFFu : bits);
      sum += x * x;
    }
  }
#pragma unroll 1
  for (int i = vectors * kVector + thread; i < count; i += kLanes) {
    std::uint32_t bits;
    if constexpr (kBits == 16) {
      bits = reinterpret_cast<const std::uint16_t*>(data)[i];
    } else {
      bits = reinterpret_cast<const std::uint32_t*>(data)[i];
    }
    const float x = value_of<Element>(bits);
    sum += x * x;
  }
  for (int apart = kWarp / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(kAllLanes, sum, apart);
  if constexpr (kLanes > kWarp) {
    auto& of_warps = shared<SquaresShared>().sums;
    if (thread % kWarp == 0) of_warps[thread / kWarp] = sum;
    __syncthreads();
    for (int i = 1; thread == 0 && i < kLanes / kWarp; ++i) sum += of_warps[i];
  }
  if (thread == 0) sums[index * sums_stride + row] = sum;
}

/// Which tokens a block of pair_norm_kernel has: `together` examples, or (together == 1) one of the pairs of `tiles` tiles of
/// an example.
struct NormPlan {
  std::int64_t batch, tokens, together, tiles;
};

/// What block `block` has: examples [example, last), tokens [row0, row_end) by [col0, col_end).
struct NormTile {
  std::int64_t pair, example, last, row0, row_end, col0, col_end;

  FIMO_DEVICE bool diagonal() const { return row0 == col0; }
};
FIMO_DEVICE NormTile norm_tile(const NormPlan& plan, std::int64_t block) {
  const std::int64_t pairs = plan.tiles * (plan.tiles + 1) / 2, pair = block % pairs;
  const std::int64_t example = block / pairs * plan.together, tokens = plan.tokens;
  const std::int64_t last = example + plan.together < plan.batch ? example + plan.together : plan.batch;
  std::int64_t tile = 0, tile2 = pair;  // tile2 counts from the diagonal
  while (tile2 >= plan.tiles - tile) tile2 -= plan.tiles - tile++;
  tile2 += tile;
  const std::int64_t row0 = example * tokens + tile * kPairTokens, col0 = example * tokens + tile2 * kPairTokens;
  const std::int64_t row_end = row0 + kPairTokens < last * tokens ? row0 + kPairTokens : last * tokens;
  const std::int64_t col_end = col0 + kPairTokens < last * tokens ? col0 + kPairTokens : last * tokens;
  return {pair, example, last, row0, row_end, col0, col_end};
}

/// sums[pair of tiles][example].
template <class Element>
__global__ void __launch_bounds__(kPairThreads, 1) pair_norm_kernel(PairFactors factors, NormPlan plan, float* sums) {
  PairShared& block = shared<PairShared>();
  {
    const NormTile tile = norm_tile(plan, blockIdx.x);
    pair_products<Element>(block, factors, tile.row0, tile.row_end, tile.col0, tile.col_end, tile.diagonal(),
                           plan.together > 1 ? static_cast<int>(plan.tokens) : 0);
  }
  const NormTile tile = norm_tile(plan, opaque(blockIdx.x));  // registers are full of sums until here
  pair_row_sums(block, tile.row0, tile.row_end, tile.col0, tile.col_end, plan.tokens);
  const int count = static_cast<int>(tile.last - tile.example);
  if (static_cast<int>(threadIdx.x) >= count) return;
  const int each = static_cast<int>(plan.tiles == 1 ? plan.tokens : tile.row_end - tile.row0);
  const int begin = static_cast<int>(threadIdx.x) * each;
  float sum = 0.0f;
  for (int i = begin; i < begin + each; ++i) sum += block.products[i][threadIdx.x];
  sums[tile.pair * plan.batch + tile.example + threadIdx.x] = tile.diagonal() ? sum : 2.0f * sum;
}

/// out[b] = the sum of count parts, in order, times that of count2 further ones if there are any. A thread owns an example.
__global__ void __launch_bounds__(kPairThreads) norm_finish_kernel(const float* sums, std::int64_t count, std::int64_t count2,
                                                                   std::int64_t batch, float* out, std::int64_t stride) {
  const std::int64_t b = static_cast<std::int64_t>(blockIdx.x) * kPairThreads + threadIdx.x;
  if (b >= batch) return;
  double sum = 0.0, sum2 = count2 == 0 ? 1.0 : 0.0;
  for (std::int64_t p = 0; p < count; ++p) sum += static_cast<double>(sums[p * batch + b]);
  for (std::int64_t p = count; p < count + count2; ++p) sum2 += static_cast<double>(sums[p * batch + b]);
  // Rounding can leave a tiny negative sum where the true norm is zero; NaN fails the comparison and stays.
  const double norm = sum * sum2;
  out[b * stride] = norm < 0.0 ? 0.0f : static_cast<float>(norm);
}

}  // namespace fimo::cuda

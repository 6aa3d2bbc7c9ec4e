// SPDX-License-Identifier: Apache-2.0
/// \file
/// SRHT of gradients of embeddings with blocks that do not fit shared memory: the blocks that an example's tokens touch are
/// gathered in the workspace, transformed there (srht_passes.cuh), and added.
///
/// How many there are only the device knows: every token has as many slots as blocks can be touched by a row, and those of
/// which it is not the first token stay unused. Not tuned: passes take unused slots as well, 8 + 8 ceil(log2(L) / 4) bytes a
/// number, and a Philox block makes one sign on the way in.
#pragma once

#include "cuda/rows/rows_srht.cuh"

namespace fimo::cuda {

constexpr int kRowsLongThreads = 128;

/// Some slots of an example: slot / slots is the token, slot % slots the block, counted from the row's first one.
struct RowsSlots {
  float* work;  // [count, block]
  std::int64_t example, slots, first, count;

  /// The slot's block; negative: unused.
  template <class Element>
  FIMO_DEVICE std::int64_t block(const RowsList<Element>& list, const RowsSrht& task, std::int64_t slot) const {
    const std::int64_t token = slot / slots;
    if (token >= list.count) return -1;
    const std::int64_t block = task.block(list.coordinate(token)) + slot % slots;
    const RowsSrhtBlocks<Element> blocks(list, task, token);
    return block >= blocks.begin && block < blocks.end ? block : -1;
  }
};

/// work = ± the numbers of each slot's block. A thread a number.
template <class Element>
__global__ void __launch_bounds__(kRowsLongThreads) rows_slots_kernel(Rows rows, RowsSrht task, RowsSlots slots) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kRowsLongThreads + threadIdx.x;
  const std::int64_t slot = slots.first + (i >> task.log2_block), at = i & ((std::int64_t{1} << task.log2_block) - 1);
  const RowsList<Element> list(rows, slots.example);
  const std::int64_t block = slots.block(list, task, slot);
  if (block < 0) return;
  const std::int64_t coordinate = (block << task.log2_block) + at;
  float sum = 0.0f;
  for (std::int64_t t = slot / slots.slots; t < list.count && list.coordinate(t) <= coordinate; ++t) {
    const std::int64_t column = coordinate - list.coordinate(t);
    if (column < rows.dim) sum += to_float(list.delta(t)[column]);
  }
  std::uint32_t signs[4];
  rows_srht_signs(signs, static_cast<std::uint64_t>(coordinate / 128), kStreamSrhtIn, task.seed);
  const int bit = static_cast<int>(coordinate % 128);
  const std::uint32_t word = bit < 64 ? (bit < 32 ? signs[0] : signs[1]) : (bit < 96 ? signs[2] : signs[3]);
  slots.work[i] = flip(sum, word << (31 - bit % 32));
}

/// out += scale * the sum over the slots of ± their blocks. A warp has the 128 outputs of a Philox block.
template <class Element>
__global__ void __launch_bounds__(kRowsLongThreads) rows_slots_sum_kernel(Rows rows, RowsSrht task, RowsSlots slots) {
  const std::int64_t call = static_cast<std::int64_t>(blockIdx.x) * (kRowsLongThreads / kWarp) + threadIdx.x / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const RowsList<Element> list(rows, slots.example);
  std::int64_t at[4];
  float sums[4] = {};
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    const std::int64_t c = 128 * call + kWarp * w + lane;
    at[w] = c < task.sketch_dim ? task.row(c) : 0;
  }
  for (std::int64_t i = 0; i < slots.count; ++i) {
    const std::int64_t block = slots.block(list, task, slots.first + i);
    if (block < 0) continue;
    const PhiloxBlock bits = philox(static_cast<std::uint64_t>(block * task.calls() + call), 0, kStreamSrhtOut, task.seed);
    const float* work = slots.work + (i << task.log2_block);
#pragma unroll
    for (int w = 0; w < 4; ++w) sums[w] += flip(work[at[w]], bits.word[w] << (31 - lane));
  }
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    const std::int64_t c = 128 * call + kWarp * w + lane;
    if (c < task.sketch_dim) task.out.put(0, slots.example, c, sums[w] * task.scale);
  }
}

}  // namespace fimo::cuda

// SPDX-License-Identifier: Apache-2.0
/// \file
/// The Walsh-Hadamard transform: its stages in registers, and the whole transform of numbers in shared memory.
///
/// Cost of hadamard_shared: one addition an element and stage, and a load and a store for each pass of two to four stages: as
/// many as leave every thread something to do. All accesses are free of bank conflicts.
#pragma once

#include "cuda/device/gpu.cuh"
#include "fimo_fast/random.h"  // FIMO_HOST_DEVICE

namespace fimo::cuda {

/// The stage of stride H, a power of two, over R registers: (a, b) becomes (a + b, a - b).
template <int H, int R>
FIMO_DEVICE void hadamard_stage(float (&v)[R]) {
#pragma unroll
  for (int i = 0; i < R; ++i) {
    if (i & H) continue;
    const float a = v[i], b = v[i + H];
    v[i] = a + b;
    v[i + H] = a - b;
  }
}

/// The stages of strides H, 2 H, ..., R / 2.
template <int R, int H = 1>
FIMO_DEVICE void hadamard_registers(float (&v)[R]) {
  if constexpr (H < R) {
    hadamard_stage<H>(v);
    hadamard_registers<R, 2 * H>(v);
  }
}

/// Where element i lies. It is linear in the bits of i, and of the elements that a warp reads or writes at once in a pass of
/// hadamard_shared, the five lowest bits that differ give 32 different banks, whichever bits the pass has in registers.
FIMO_DEVICE constexpr int hadamard_slot(int i) {
  const int row = i >> 5;
  return i ^ (row & 1) * 5 ^ (row >> 1 & 1) * 26 ^ (row >> 2 & 1) * 20 ^ (row >> 3 & 1) * 24;
}

/// The stages of strides 2^low, ..., R 2^low / 2 of `arrays` arrays of 2^log2_size elements, one behind the other.
template <int R>
FIMO_DEVICE void hadamard_pass(float* x, int log2_size, int arrays, int low, int thread, int threads) {
  const int groups = (1 << log2_size) / R;
#pragma unroll 1
  for (int index = thread; index < arrays * groups; index += threads) {
    const int group = index & (groups - 1), below = group & ((1 << low) - 1);
    float* array = x + (index - group) * R;
    const int base = hadamard_slot((group - below) * R + below);
    const auto at = [&](int i) {
      int slot = base;
#pragma unroll
      for (int bit = 0; bit < 4; ++bit) slot ^= i >> bit & 1 ? hadamard_slot(1 << bit << low) : 0;
      return slot;
    };
    float v[R];
#pragma unroll
    for (int i = 0; i < R; ++i) v[i] = array[at(i)];
    hadamard_registers(v);
#pragma unroll
    for (int i = 0; i < R; ++i) array[at(i)] = v[i];
  }
}

/// x = WHT(x) of each of the arrays, stages in the order of their strides 1, 2, 4, ... Element i of an array is
/// x[hadamard_slot(i)]. Called by all `threads` of the block; a barrier before it must have made x visible, and it ends with
/// one.
FIMO_DEVICE void hadamard_shared(float* x, int log2_size, int arrays, int thread, int threads) {
  const int size = arrays << log2_size;
  const int most = size <= 4 * threads ? 2 : size <= 8 * threads ? 3 : 4;  // stages of a pass
  for (int low = 0; low < log2_size; low += most) {
    switch (min(most, log2_size - low)) {
      case 1: hadamard_pass<2>(x, log2_size, arrays, low, thread, threads); break;
      case 2: hadamard_pass<4>(x, log2_size, arrays, low, thread, threads); break;
      case 3: hadamard_pass<8>(x, log2_size, arrays, low, thread, threads); break;
      default: hadamard_pass<16>(x, log2_size, arrays, low, thread, threads); break;
    }
    __syncthreads();
  }
}

}  // namespace fimo::cuda

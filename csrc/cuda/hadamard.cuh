// SPDX-License-Identifier: Apache-2.0
/// \file
/// The Walsh-Hadamard transform: its stages in registers, and the whole transform of numbers in shared memory.
///
/// Cost of hadamard_shared: one addition an element and stage, and a load and a store for each five stages. All accesses are
/// free of bank conflicts: a pass over bits [low, low + 5) reads at a stride of 2^low, and `hadamard_slot` leaves one word free
/// behind every 32, so that the first pass, where a lane has 32 consecutive elements, does not meet others in a bank.
#pragma once

#include "cuda/gpu.cuh"
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

/// Where element i lies.
FIMO_DEVICE constexpr int hadamard_slot(int i) { return i + (i >> 5); }

/// Floats that `size` elements take.
FIMO_HOST_DEVICE constexpr int hadamard_floats(int size) { return size + (size + 31) / 32; }

/// The stages of strides 2^low, ..., R 2^low / 2.
template <int R>
FIMO_DEVICE void hadamard_pass(float* x, int size, int low, int thread, int threads) {
  for (int group = thread; group < size / R; group += threads) {
    const int below = group & ((1 << low) - 1);
    const int first = (group - below) * R + below;
    float v[R];
#pragma unroll
    for (int i = 0; i < R; ++i) v[i] = x[hadamard_slot(first + (i << low))];
    hadamard_registers(v);
#pragma unroll
    for (int i = 0; i < R; ++i) x[hadamard_slot(first + (i << low))] = v[i];
  }
}

/// x = WHT(x), stages in the order of their strides 1, 2, 4, ... Element i of the 2^log2_size is x[hadamard_slot(i)]. Called by
/// all `threads` of the block; a barrier before it must have made x visible, and it ends with one.
FIMO_DEVICE void hadamard_shared(float* x, int log2_size, int thread, int threads) {
  for (int low = 0; low < log2_size; low += 5) {
    switch (log2_size - low) {
      case 1: hadamard_pass<2>(x, 1 << log2_size, low, thread, threads); break;
      case 2: hadamard_pass<4>(x, 1 << log2_size, low, thread, threads); break;
      case 3: hadamard_pass<8>(x, 1 << log2_size, low, thread, threads); break;
      case 4: hadamard_pass<16>(x, 1 << log2_size, low, thread, threads); break;
      default: hadamard_pass<32>(x, 1 << log2_size, low, thread, threads); break;
    }
    __syncthreads();
  }
}

}  // namespace fimo::cuda

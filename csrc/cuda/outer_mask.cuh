// SPDX-License-Identifier: Apache-2.0
/// \file
/// out[b, c] += sqrt(length_c) sum_t delta[b, t, i_c] a[b, t, j_c] for the entries (i_c, j_c) that a mask keeps.
///
/// Floor: the factors read once, 8 bytes an output; two gathers and a multiply-add an output and token. Positions take a Philox
/// block and three divisions of 64 bits each, far more than the gathers of a token: a kernel of their own finds them once for
/// all examples. Neighbouring outputs keep neighbouring rows of G, so that a warp's gathers of delta touch few cache lines.
#pragma once

#include "cuda/gpu.cuh"
#include "mask.h"

namespace fimo::cuda {

constexpr int kOuterMaskThreads = 256;

/// Where outputs [first, first + count) lie in the factors, and their scales.
struct MaskPositions {
  std::uint32_t *row, *column;
  float* scale;
};

__global__ void __launch_bounds__(kOuterMaskThreads)
    mask_positions_kernel(std::int64_t input_dim, std::int64_t sketch_dim, std::uint64_t seed, std::int64_t offset,
                          std::int64_t n, std::int64_t first, std::int64_t count, MaskPositions positions) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kOuterMaskThreads + threadIdx.x;
  if (i >= count) return;
  const MaskEntry entry = mask_entry(input_dim, sketch_dim, seed, first + i);
  positions.row[i] = static_cast<std::uint32_t>((entry.coordinate - offset) / n);
  positions.column[i] = static_cast<std::uint32_t>((entry.coordinate - offset) % n);
  positions.scale[i] = static_cast<float>(sqrt(static_cast<double>(entry.length)));
}

FIMO_DEVICE float outer_mask_float(float x) { return x; }
FIMO_DEVICE float outer_mask_float(__nv_bfloat16 x) { return __bfloat162float(x); }
FIMO_DEVICE float outer_mask_float(__half x) { return __half2float(x); }

template <class Element>
struct OuterMaskTask {
  const Element *a, *delta;
  std::int64_t a_batch, a_token, delta_batch, delta_token;  // strides
  std::int64_t tokens, part;                                // of which a block takes `part`
  MaskPositions positions;
  std::int64_t count, examples;
  float* out;
  std::int64_t stride;
  float* parts;  // [parts - 1, examples, count]
};

/// Grid: x: examples x blocks of outputs; y: parts of the tokens, of which the first is added to out. A thread owns an output.
template <class Element>
__global__ void __launch_bounds__(kOuterMaskThreads) outer_mask_kernel(OuterMaskTask<Element> task) {
  const auto blocks = static_cast<unsigned>((task.count + kOuterMaskThreads - 1) / kOuterMaskThreads);
  const std::int64_t example = blockIdx.x / blocks;
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x % blocks) * kOuterMaskThreads + threadIdx.x;
  if (c >= task.count) return;
  const std::int64_t first = blockIdx.y * task.part;
  const std::int64_t last = first + task.part < task.tokens ? first + task.part : task.tokens;
  const Element* a = task.a + example * task.a_batch + task.positions.column[c];
  const Element* delta = task.delta + example * task.delta_batch + task.positions.row[c];
  float sum = 0.0f;
#pragma unroll 8
  for (std::int64_t t = first; t < last; ++t) {
    sum += outer_mask_float(delta[t * task.delta_token]) * outer_mask_float(a[t * task.a_token]);
  }
  sum *= task.positions.scale[c];
  if (blockIdx.y == 0) {
    task.out[example * task.stride + c] += sum;
  } else {
    task.parts[((blockIdx.y - 1) * task.examples + example) * task.count + c] = sum;
  }
}

}  // namespace fimo::cuda

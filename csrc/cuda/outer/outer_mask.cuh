// SPDX-License-Identifier: Apache-2.0
/// \file
/// out[b, c] += sqrt(length_c) sum_t delta[b, t, i_c] a[b, t, j_c] for the entries (i_c, j_c) that a mask keeps.
///
/// Floor: the factors read once, 8 bytes an output; two gathers and a multiply-add an output and token. Positions take a Philox
/// block and three divisions of 64 bits each, far more than the gathers of a token: a kernel of their own finds them once for
/// all examples, and a thread of the other one keeps what it has read of them for several examples. Neighbouring outputs keep
/// neighbouring rows of G, so that a warp's gathers of delta touch few cache lines.
#pragma once

#include "common/mask.h"
#include "cuda/device/entries.cuh"

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

template <class Element>
struct OuterMaskTask {
  const Element *a, *delta;
  std::int64_t a_batch, a_token, delta_batch, delta_token;  // strides
  std::int64_t tokens, part;                                // of which a block takes `part`
  MaskPositions positions;
  std::int64_t count, examples;
  int group;  // examples of a block
  float* out;
  std::int64_t stride;
  float* parts;  // [parts - 1, examples, count]
};

/// Grid: x: groups of examples x blocks of outputs; y: parts of the tokens, of which the first is added to out. A thread owns
/// an output of each example of the group, kAtOnce of them at a time: their loads are under way together.
template <class Element, int kAtOnce>
__global__ void __launch_bounds__(kOuterMaskThreads) outer_mask_kernel(OuterMaskTask<Element> task) {
  const auto blocks = static_cast<unsigned>((task.count + kOuterMaskThreads - 1) / kOuterMaskThreads);
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x % blocks) * kOuterMaskThreads + threadIdx.x;
  if (c >= task.count) return;
  const std::int64_t example = static_cast<std::int64_t>(blockIdx.x / blocks) * task.group;
  const int examples = static_cast<int>(task.examples - example < task.group ? task.examples - example : task.group);
  const std::int64_t first = blockIdx.y * task.part;
  const std::int64_t rest = task.tokens - first < task.part ? task.tokens - first : task.part;
  const bool is_first = kAtOnce > 1 || blockIdx.y == 0;  // tokens of many examples are not cut into parts
  const Element* a = task.a + example * task.a_batch + first * task.a_token + task.positions.column[c];
  const Element* delta = task.delta + example * task.delta_batch + first * task.delta_token + task.positions.row[c];
  const float scale = task.positions.scale[c];
  const std::int64_t stride = is_first ? task.stride : task.count;
  float* out = is_first ? task.out + example * stride : task.parts + ((blockIdx.y - 1) * task.examples + example) * stride;
  out += c;
  for (int e = 0; e < examples; e += kAtOnce, a += kAtOnce * task.a_batch, delta += kAtOnce * task.delta_batch) {
    float sums[kAtOnce] = {}, old[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) old[i] = is_first && e + i < examples ? out[i * stride] : 0.0f;
#pragma unroll(kAtOnce == 1 ? 8 : 1)
    for (std::int64_t t = 0; t < rest; ++t) {
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (e + i >= examples) continue;
        const Element x = a[i * task.a_batch + t * task.a_token], y = delta[i * task.delta_batch + t * task.delta_token];
        sums[i] += to_float(x) * to_float(y);
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (e + i < examples) out[i * stride] = old[i] + scale * sums[i];
    }
    out += kAtOnce * stride;
  }
}

}  // namespace fimo::cuda

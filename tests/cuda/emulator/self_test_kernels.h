// SPDX-License-Identifier: Apache-2.0
// The kernels of self_test.cpp: right, or with a fault, by template arguments.
#pragma once

#include "cuda/device/instructions.cuh"

// Not in an anonymous namespace: translated kernels (ptx/self_test.cu) are found by name.
namespace fimo::cuda::self_test {

constexpr int kThreads = 64;
constexpr int kShort = 100;  // elements of arrays that no number of blocks fills

struct Exchange {
  float values[kThreads];
};

/// Reversed within the block, twice: through shared memory that is used again.
template <bool kBefore, bool kAfter>
__global__ void reverse(const float* in, float* out) {
  auto& memory = shared<Exchange>();
  float value = in[blockIdx.x * kThreads + threadIdx.x];
  for (int round = 0; round < 3; ++round) {
    memory.values[threadIdx.x] = value;
    if (kBefore) __syncthreads();
    value = memory.values[kThreads - 1 - threadIdx.x];
    if (kAfter) __syncthreads();
  }
  out[blockIdx.x * kThreads + threadIdx.x] = value;
}

/// The same within each warp.
template <bool kBarrier>
__global__ void reverse_warps(const float* in, float* out) {
  auto& memory = shared<Exchange>();
  memory.values[threadIdx.x] = in[blockIdx.x * kThreads + threadIdx.x];
  if (kBarrier) {
    __syncwarp();
  } else {
    __shfl_sync(kAllLanes, 0, 0);  // collectives order no memory
  }
  out[blockIdx.x * kThreads + threadIdx.x] = memory.values[threadIdx.x ^ 31];
}

/// Shared memory that half of the threads fill.
template <bool kAll>
__global__ void partly_filled(const float* in, float* out) {
  auto& memory = shared<Exchange>();
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (kAll || threadIdx.x < kThreads / 2) memory.values[threadIdx.x] = in[i];
  __syncthreads();
  out[i] = memory.values[kThreads - 1 - threadIdx.x];
}

/// Counts in shared memory, then over blocks.
template <bool kShared, bool kGlobal>
__global__ void count(const int* in, int* out) {
  auto& counts = *reinterpret_cast<int*>(&shared<Exchange>());
  if (threadIdx.x == 0) counts = 0;
  __syncthreads();
  const int mine = in[(blockIdx.y * gridDim.x + blockIdx.x) * kThreads + threadIdx.x];
  if (kShared) {
    atomicAdd(&counts, mine);
  } else {
    counts += mine;
  }
  __syncthreads();
  if (threadIdx.x) return;
  if (kGlobal) {
    atomicAdd(&out[blockIdx.x], counts);
  } else {
    out[blockIdx.x] += counts;
  }
}

/// The last block adds up what all have written.
template <bool kFence>
__global__ void last_adds_up(const float* in, float* parts, unsigned* ticket, float* out) {
  if (threadIdx.x) return;
  parts[blockIdx.x] = in[blockIdx.x];
  if (kFence) __threadfence();
  if (atomicAdd(ticket, 1u) != gridDim.x - 1) return;
  if (kFence) __threadfence();
  float sum = 0.0f;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += parts[i];
  *out = sum;
}

template <bool kBounds>
__global__ void one_too_many(const float* in, float* out) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (kBounds ? i < kShort : i <= kShort) out[i] = in[i];
}

template <bool kInside>
__global__ void behind_shared(const float* in, float* out) {
  auto& memory = shared<Exchange>();
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  memory.values[threadIdx.x] = in[i];
  __syncthreads();
  const float* values = memory.values;
  out[i] = values[threadIdx.x ^ 1] + 0.0f * values[threadIdx.x + !kInside];
}

/// A barrier in two places, and one that a part of the threads reaches.
template <int kFault>
__global__ void divergent(const float* in, float* out) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (kFault == 1 && threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  if (kFault == 2 && threadIdx.x == 5) __shfl_sync(kAllLanes, 0, 0);
  const unsigned mask = kFault == 3 ? 0xFFFFu : kAllLanes;
  out[i] = __shfl_xor_sync(mask, in[i], 1);
}

/// Copies of tiles in two buffers, each read by other threads than it was copied by.
template <int kFault>
__global__ void copies(const float* in, float* out, int tiles) {
  struct Buffers {
    float values[2][kThreads];
  };
  auto& memory = shared<Buffers>();
  const int i = static_cast<int>(threadIdx.x);
  const auto fetch = [&](int tile) {
    if (tile < tiles) copy_async<4>(&memory.values[tile % 2][i], in + tile * kThreads + i, true);
    copy_async_commit();
  };
  fetch(0);
  for (int tile = 0; tile < tiles; ++tile) {
    fetch(tile + 1);
    if (kFault != 1) copy_async_wait<kFault == 2 ? 2 : 1>();  // the next tile's may be under way
    if (kFault != 3) __syncthreads();
    out[tile * kThreads + i] = memory.values[tile % 2][kThreads - 1 - i];
    if (kFault != 4) __syncthreads();
  }
  copy_async_wait<0>();
  if (kFault == 5) copy_async<4>(&memory.values[0][i], in, true);
}

template <bool kAligned>
__global__ void vectors(const float* in, float* out) {
  const unsigned i = 4 * threadIdx.x + !kAligned;
  if (i + 4 > kThreads) return;
  const float4 four = *reinterpret_cast<const float4*>(in + i);
  out[i] = four.x, out[i + 1] = four.y, out[i + 2] = four.z, out[i + 3] = four.w;
}

template <bool kAligned>
__global__ void copied_vectors(const float* in, float* out) {
  auto& memory = shared<Exchange>();
  const unsigned i = 4 * threadIdx.x + !kAligned;
  copy_async<16>(&memory.values[4 * threadIdx.x], in + i, i + 4 <= kThreads);
  copy_async_commit();
  copy_async_wait<0>();
  for (int e = 0; e < 4; ++e) out[4 * threadIdx.x + e] = memory.values[4 * threadIdx.x + e];
}

/// The neighbours' places in `parts`, which has one for each thread.
template <bool kInside>
__global__ void through_workspace(const float* in, float* parts, float* out) {
  const unsigned i = threadIdx.x, last = blockDim.x - kInside;
  parts[i + 1 <= last ? i + 1 : 0] = in[i];
  __syncthreads();
  out[i] = parts[i + 1 <= last ? i + 1 : 0];
}

__global__ inline void nothing() {}

}  // namespace fimo::cuda::self_test

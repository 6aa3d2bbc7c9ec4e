// SPDX-License-Identifier: Apache-2.0
// Small kernels, each with a fault that the emulator must see, and the same kernel without it. tests/cuda/test_emulator.py says
// which way of running must see which.
//
// usage: self_test NAME broken|healthy    prints "right", "wrong" or "error: ..."; sanitizers end it themselves
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cuda/instructions.cuh"
#include "memory.h"

namespace fimo::cuda {
namespace {

constexpr int kThreads = 64;

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
__global__ void one_too_many(const float* in, float* out, int count) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (kBounds ? i < count : i <= count) out[i] = in[i];
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
    if (kFault != 1) copy_async_wait<1>();
    if (kFault == 2) copy_async_wait<2>();
    if (kFault != 3) __syncthreads();
    out[tile * kThreads + i] = memory.values[tile % 2][kThreads - 1 - i];
    if (kFault != 4) __syncthreads();
  }
  if (kFault == 5) copy_async<4>(&memory.values[0][i], in, true);
}
template <>
__global__ void copies<2>(const float* in, float* out, int tiles) {  // waits for all but the one that it needs
  auto& memory = shared<Exchange>();
  const int i = static_cast<int>(threadIdx.x);
  for (int tile = 0; tile < tiles; ++tile) {
    copy_async<4>(&memory.values[i], in + tile * kThreads + i, true);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    out[tile * kThreads + i] = memory.values[kThreads - 1 - i];
    __syncthreads();
  }
  copy_async_wait<0>();
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

// --- Running them ------------------------------------------------------------------------------------------------------------

/// An array on the device with what a kernel should make of it.
template <class T>
struct Array {
  explicit Array(std::vector<T> values) : memory(values.size() * sizeof(T)) { memory.put(values.data()); }
  T* data() { return static_cast<T*>(memory.get()); }
  bool holds(const std::vector<T>& expected) const {
    std::vector<T> values(expected.size());
    memory.copy_to(values.data());
    return values == expected;
  }
  DeviceMemory memory;
};

constexpr int kBlocks = 6, kCount = kBlocks * kThreads;

template <class T>
std::vector<T> numbers(int count, const std::function<int(int)>& value) {
  std::vector<T> result;
  for (int i = 0; i < count; ++i) result.push_back(static_cast<T>(value(i)));
  return result;
}

int same(int i) { return i; }

/// Runs kernel(in, out, more...) on 0, 1, 2, ... and compares.
template <class... More, class... Given>
bool run(void (*kernel)(const float*, float*, More...), unsigned blocks, unsigned threads, int count,
         const std::function<int(int)>& expected, Given... given) {
  Array<float> in(numbers<float>(count, same)), out(numbers<float>(count, [](int) { return -1; }));
  emulator::launch(kernel, dim3(blocks), dim3(threads), sizeof(Exchange), static_cast<const float*>(in.data()), out.data(),
                   static_cast<More>(given)...);
  return out.holds(numbers<float>(count, expected));
}

int reversed(int i) { return i / kThreads * kThreads + kThreads - 1 - i % kThreads; }

template <bool kShared, bool kGlobal>
bool run_count() {
  Array<int> in(numbers<int>(kCount, same)), out({0, 0});
  emulator::launch(count<kShared, kGlobal>, dim3(2, kBlocks / 2), dim3(kThreads), sizeof(Exchange),
                   static_cast<const int*>(in.data()), out.data());
  std::vector<int> sums(2, 0);
  for (int i = 0; i < kCount; ++i) sums[i / kThreads % 2] += i;
  return out.holds(sums);
}

template <bool kFence>
bool run_last() {
  Array<float> in({1, 2, 3, 4, 5, 6}), parts({0, 0, 0, 0, 0, 0}), out({0});
  Array<unsigned> ticket({0});
  emulator::launch(last_adds_up<kFence>, dim3(kBlocks), dim3(kThreads), 0, static_cast<const float*>(in.data()), parts.data(),
                   ticket.data(), out.data());
  return out.holds({21});
}

template <int kFault>
bool run_copies() {
  Array<float> in(numbers<float>(kCount, same)), out(numbers<float>(kCount, same));
  emulator::launch(copies<kFault>, dim3(1), dim3(kThreads), 2 * sizeof(Exchange), static_cast<const float*>(in.data()),
                   out.data(), kBlocks);
  return out.holds(numbers<float>(kCount, reversed));
}

__global__ void nothing() {}

bool run_shape(dim3 grid, dim3 block, std::size_t shared_bytes) {
  emulator::launch(nothing, grid, block, shared_bytes);
  return true;
}

using Test = std::function<bool()>;
struct Twins {
  Test broken, healthy;
};

std::map<std::string, Twins> tests() {
  const Test reverses = [] { return run(reverse<true, true>, kBlocks, kThreads, kCount, reversed); };
  const Test exchanges = [] { return run(divergent<0>, kBlocks, kThreads, kCount, [](int i) { return i ^ 1; }); };
  const Test copying = run_copies<0>;
  std::map<std::string, Twins> all;
  all["barrier before reading"] = {[] { return run(reverse<false, true>, kBlocks, kThreads, kCount, reversed); }, reverses};
  all["barrier before writing again"] = {[] { return run(reverse<true, false>, kBlocks, kThreads, kCount, reversed); },
                                         reverses};
  const auto warps = [](int i) { return i ^ 31; };
  all["barrier of a warp"] = {[=] { return run(reverse_warps<false>, kBlocks, kThreads, kCount, warps); },
                              [=] { return run(reverse_warps<true>, kBlocks, kThreads, kCount, warps); }};
  all["shared memory not filled"] = {[] { return run(partly_filled<false>, kBlocks, kThreads, kCount, reversed); },
                                     [] { return run(partly_filled<true>, kBlocks, kThreads, kCount, reversed); }};
  all["race in shared memory"] = {run_count<false, true>, run_count<true, true>};
  all["race between blocks"] = {run_count<true, false>, run_count<true, true>};
  all["fence"] = {run_last<false>, run_last<true>};
  all["one element too many"] = {[] { return run(one_too_many<false>, 2, kThreads, 100, same, 100); },
                                 [] { return run(one_too_many<true>, 2, kThreads, 100, same, 100); }};
  const auto swapped = [](int i) { return i ^ 1; };
  all["behind shared memory"] = {[=] { return run(behind_shared<false>, kBlocks, kThreads, kCount, swapped); },
                                 [=] { return run(behind_shared<true>, kBlocks, kThreads, kCount, swapped); }};
  all["divergent barrier"] = {[] { return run(divergent<1>, kBlocks, kThreads, kCount, same); }, exchanges};
  all["collective of one lane"] = {[] { return run(divergent<2>, kBlocks, kThreads, kCount, same); }, exchanges};
  all["wrong mask"] = {[] { return run(divergent<3>, kBlocks, kThreads, kCount, same); }, exchanges};
  all["copy without a wait"] = {run_copies<1>, copying};
  all["wait for too few copies"] = {run_copies<2>, copying};
  all["wait without a barrier"] = {run_copies<3>, copying};
  all["copy into what is read"] = {run_copies<4>, copying};
  all["copy left under way"] = {run_copies<5>, copying};
  all["misaligned vector"] = {[] { return run(vectors<false>, 1, kThreads / 4 - 1, kThreads - 4, same); },
                              [] { return run(vectors<true>, 1, kThreads / 4, kThreads, same); }};
  all["misaligned copy"] = {[] { return run(copied_vectors<false>, 1, kThreads / 4 - 1, kThreads, same); },
                            [] { return run(copied_vectors<true>, 1, kThreads / 4, kThreads, same); }};
  all["shared struct too small"] = {[] { return run_shape(1, 1, 0), shared<Exchange>().values[0] == 0; }, reverses};
  all["threads"] = {[] { return run_shape(1, 1025, 0); }, [] { return run_shape(1, 1024, 0); }};
  all["grid"] = {[] { return run_shape(dim3(1, 65536), 1, 0); }, [] { return run_shape(dim3(65537, 2), 1, 0); }};
  all["shared memory of sm_80"] = {[] { return run_shape(1, 1, 163 * 1024 + 1); }, [] { return run_shape(1, 1, 163 * 1024); }};
  return all;
}

}  // namespace
}  // namespace fimo::cuda

int main(int argc, char** argv) {
  const auto tests = fimo::cuda::tests();
  if (argc != 3) {
    for (const auto& [name, twins] : tests) std::printf("%s\n", name.c_str());
    return 0;
  }
  const auto& twins = tests.at(argv[1]);
  try {
    std::printf("%s\n", (std::string(argv[2]) == "broken" ? twins.broken() : twins.healthy()) ? "right" : "wrong");
  } catch (const std::exception& error) {
    std::printf("error: %s\n", error.what());
  }
  return 0;
}

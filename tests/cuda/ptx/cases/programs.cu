// SPDX-License-Identifier: Apache-2.0
// Small kernels for test_ptx_programs.py, each for what nvcc makes of one construct of CUDA. Their results are known.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "cuda/device/instructions.cuh"

#define KERNEL extern "C" __global__ void

namespace {

constexpr unsigned kAll = 0xFFFFFFFFu;

__device__ __noinline__ float called(float x, int times) {
  for (int i = 0; i < times; ++i) x = x * 0.5f + 1.0f;
  return x;
}

struct Pair {
  double value;
  int index;
};
__device__ __noinline__ Pair called_with_struct(Pair p) { return {p.value * 2.0, p.index + 1}; }

}  // namespace

__constant__ float constants[5] = {1.0f, -2.0f, 0.5f, 8.0f, 3.0f};
__device__ unsigned counter = 40;

KERNEL calls(const float* in, float* out) {
  const int i = threadIdx.x;
  out[i] = called(in[i], i % 4) + static_cast<float>(called_with_struct({in[i], i}).index);
}

/// Far apart cases, which become a table of branches.
KERNEL branches(const int* in, int* out) {
  const int x = in[threadIdx.x];
  int y = 0;
  switch (x) {
    case 0: y = __popc(out[41]) + 3; break;
    case 1: y = __brev(x) >> 5; break;
    case 2: y = atomicAdd(out + 40, 0) + 7; break;
    case 3: y = x * x * x; break;
    case 4: y = __clz(x + static_cast<int>(blockDim.x)); break;
    case 5: y = in[0] - 5; break;
    case 6: y = static_cast<int>(gridDim.x) * 11; break;
    case 7: y = -x; break;
    default: y = 1000; break;
  }
  out[threadIdx.x] = y;
}

/// An array in local memory.
KERNEL local_array(const int* in, int* out) {
  int values[16];
  for (int k = 0; k < 16; ++k) values[k] = in[(threadIdx.x + k) % 32];
  for (int k = 0; k < 4; ++k) values[in[threadIdx.x] & 15] += values[in[(threadIdx.x + k) % 32] & 15];
  int sum = 0;
  for (int k = 0; k < 16; ++k) sum = 3 * sum + values[(in[threadIdx.x] + k) & 15];
  out[threadIdx.x] = sum;
}

KERNEL tables(float* out, unsigned* count) {
  out[threadIdx.x] = constants[(threadIdx.x * 3) % 5];
  if (threadIdx.x == 0) *count = atomicAdd(&counter, 2u);
}

/// Static and dynamic shared memory; block (x, y, z) and grid.
KERNEL shared_arrays(const float* in, float* out) {
  __shared__ float rows[33];
  extern __shared__ float4 dynamic[];
  const unsigned i = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z), n = 32;
  rows[i] = in[block * n + i];
  reinterpret_cast<float*>(dynamic)[i] = 10.0f * rows[i];
  __syncthreads();
  const float4 four = dynamic[i % 8];
  out[block * n + i] = rows[n - 1 - i] + four.x + four.y + four.z + four.w;
}

/// One result a lane for each collective.
KERNEL collectives(const unsigned* in, unsigned* out) {
  const unsigned lane = threadIdx.x, x = in[lane];
  unsigned* row = out + lane;
  row[0 * 32] = __shfl_sync(kAll, x, 5);
  row[1 * 32] = __shfl_sync(kAll, x, lane + 3, 8);
  row[2 * 32] = __shfl_up_sync(kAll, x, 3);
  row[3 * 32] = __shfl_up_sync(kAll, x, 2, 16);
  row[4 * 32] = __shfl_down_sync(kAll, x, 7);
  row[5 * 32] = __shfl_down_sync(kAll, x, 3, 4);
  row[6 * 32] = __shfl_xor_sync(kAll, x, 17);
  row[7 * 32] = __shfl_xor_sync(kAll, x, 5, 8);
  row[8 * 32] = __ballot_sync(kAll, x & 1);
  row[9 * 32] = __any_sync(kAll, x == 1000000) + 2 * __all_sync(kAll, x < 1000);
  row[10 * 32] = __match_any_sync(kAll, x % 5);
  row[11 * 32] = __reduce_add_sync(kAll, x);
  row[12 * 32] = static_cast<unsigned>(__reduce_min_sync(kAll, static_cast<int>(x) - 200));
  row[13 * 32] = __reduce_max_sync(kAll, x);
  row[14 * 32] = __reduce_xor_sync(kAll, x);
  row[15 * 32] = lane & 1 ? __ballot_sync(0xAAAAAAAAu, x & 2) : __ballot_sync(0x55555555u, x & 4);
}

KERNEL reductions(const int* in, int* out) {
  const int x = in[threadIdx.x];
  out[threadIdx.x] =
      __syncthreads_count(x & 1) + 1000 * (__syncthreads_and(x < 90) != 0) + 2000 * (__syncthreads_or(x == 7) != 0);
}

KERNEL atomics(const unsigned* in, unsigned* out, float* sum, unsigned long long* wide) {
  const unsigned x = in[threadIdx.x];
  atomicAdd(out, x), atomicMin(out + 1, x), atomicMax(out + 2, x), atomicAnd(out + 3, x), atomicOr(out + 4, x);
  atomicXor(out + 5, x), atomicInc(out + 6, 20), atomicDec(out + 7, 100);
  atomicMax(reinterpret_cast<int*>(out + 8), static_cast<int>(x) - 500);
  unsigned expected = out[9], seen;
  while ((seen = atomicCAS(out + 9, expected, expected + x)) != expected) expected = seen;
  if (threadIdx.x == 3) atomicExch(out + 10, x);
  atomicAdd(sum, static_cast<float>(x));
  atomicAdd(wide, static_cast<unsigned long long>(x) << 32);
}

/// Numbers of 16 bits and back, rows of 64.
KERNEL halves(const float* in, std::uint16_t* out, float* back) {
  const int i = threadIdx.x;
  const __half h = __float2half_rn(in[i]);
  const __nv_bfloat16 b = __float2bfloat16_rn(in[i]);
  const __nv_bfloat162 both = __floats2bfloat162_rn(in[i], -in[i]);
  out[i] = __half_as_ushort(h);
  out[64 + i] = __bfloat16_as_ushort(b);
  out[128 + i] = __bfloat16_as_ushort(both.y);
  back[i] = __half2float(h);
  back[64 + i] = __bfloat162float(b);
}

/// Division, remainders and wide products of signed and unsigned integers.
KERNEL integers(const std::int64_t* a, const std::int64_t* b, std::int64_t* out) {
  const int i = threadIdx.x, n = blockDim.x;
  out[i] = a[i] / b[i];
  out[n + i] = a[i] % b[i];
  out[2 * n + i] = static_cast<std::int64_t>(static_cast<std::uint64_t>(a[i]) / static_cast<std::uint64_t>(b[i]));
  out[3 * n + i] = static_cast<std::int64_t>(__umul64hi(a[i], b[i]));
  out[4 * n + i] = __mul64hi(a[i], b[i]);
  out[5 * n + i] = static_cast<int>(a[i]) / (static_cast<int>(b[i]) | 1);
  out[6 * n + i] = a[i] / 10 - b[i] % 7;
}

// --- instructions.cuh, of which the emulator runs host twins only
// -------------------------------------------------------------

namespace {

/// Of every lane: 4 registers of A, 2 of B, 4 sums.
template <class Sum>
__device__ void multiply(void (*instruction)(Sum (&)[4], const std::uint32_t (&)[4], const std::uint32_t (&)[2]),
                         const std::uint32_t* of_a, const std::uint32_t* of_b, Sum* sums) {
  std::uint32_t a[4], b[2];
  Sum d[4];
  for (int i = 0; i < 4; ++i) a[i] = of_a[4 * threadIdx.x + i], d[i] = sums[4 * threadIdx.x + i];
  for (int i = 0; i < 2; ++i) b[i] = of_b[2 * threadIdx.x + i];
  instruction(d, a, b);
  for (int i = 0; i < 4; ++i) sums[4 * threadIdx.x + i] = d[i];
}

struct Slots {
  alignas(16) unsigned char bytes[28][16];
};

__device__ void copy_parts(Slots& to, const unsigned char* in) {
  int slot = 6;
  for (int n = 0; n <= 4; ++n, ++slot) fimo::cuda::copy_async_part<4>(to.bytes[slot], in + 16 * slot, n);
  for (int n = 0; n <= 16; ++n, ++slot) fimo::cuda::copy_async_part<16>(to.bytes[slot], in + 16 * slot, n);
}

}  // namespace

KERNEL mma_bf16_of_project(const std::uint32_t* a, const std::uint32_t* b, float* sums) {
  multiply<float>(fimo::cuda::mma_bf16, a, b, sums);
}
KERNEL mma_f16_of_project(const std::uint32_t* a, const std::uint32_t* b, float* sums) {
  multiply<float>(fimo::cuda::mma_half, a, b, sums);
}
KERNEL mma_tf32_of_project(const std::uint32_t* a, const std::uint32_t* b, float* sums) {
  multiply<float>(fimo::cuda::mma_tf32, a, b, sums);
}
KERNEL mma_s8_of_project(const std::uint32_t* a, const std::uint32_t* b, int* sums) {
  multiply<int>(fimo::cuda::mma_int8, a, b, sums);
}

/// By one thread: slot i from 16 i on. Bytes that nothing copies to stay 0xEE.
KERNEL copies_of_project(const unsigned char* in, unsigned char* out) {
  using fimo::cuda::copy_async;
  auto& to = fimo::cuda::shared<Slots>();
  for (int i = 0; i < 28 * 16; ++i) to.bytes[0][i] = 0xEE;
  copy_async<4>(to.bytes[0], in, true), copy_async<4>(to.bytes[1], in + 16, false);
  copy_async<8>(to.bytes[2], in + 32, true), copy_async<8>(to.bytes[3], in + 48, false);
  copy_async<16>(to.bytes[4], in + 64, true), copy_async<16>(to.bytes[5], in + 80, false);
  copy_parts(to, in);
  fimo::cuda::copy_async_commit();
  fimo::cuda::copy_async_wait<0>();
  for (int i = 0; i < 28 * 16; ++i) out[i] = to.bytes[0][i];
}

KERNEL matrices_of_project(const uint4* in, std::uint32_t* out) {
  auto& rows = fimo::cuda::shared<uint4[32]>();
  rows[threadIdx.x] = in[threadIdx.x];
  __syncwarp();
  std::uint32_t registers[4];
  fimo::cuda::load_matrices(registers, &rows[threadIdx.x]);
  for (int m = 0; m < 4; ++m) out[4 * threadIdx.x + m] = registers[m];
}

KERNEL roots_of_project(const float* x, float* roots) {
  const unsigned i = fimo::cuda::fresh_thread();
  roots[i] = fimo::cuda::reciprocal_root(x[i]);
}

// --- With a fault, where `fault` says so
// ---------------------------------------------------------------------------------------

KERNEL reverse(const float* in, float* out, int barrier) {
  __shared__ float rows[64];
  rows[threadIdx.x] = in[threadIdx.x];
  if (barrier) __syncthreads();
  out[threadIdx.x] = rows[63 - threadIdx.x];
}

KERNEL far(float* out, int index) {
  extern __shared__ float4 dynamic[];
  dynamic[index] = make_float4(1, 2, 3, 4);
  out[0] = reinterpret_cast<const float*>(dynamic)[4 * index + 1];
}

KERNEL unaligned(const char* in, float* out, int offset) {
  const float2 two = *reinterpret_cast<const float2*>(in + offset);
  out[0] = two.x + two.y;
}

extern "C" __global__ void __launch_bounds__(64) bounded(float* out) { out[threadIdx.x] = 1.0f; }

KERNEL trapped(int* out, int fault) {
  if (fault) __trap();
  out[0] = 1;
}

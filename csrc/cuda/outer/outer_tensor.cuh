// SPDX-License-Identifier: Apache-2.0
/// \file
/// TensorSketch: out += WHT(sum_t WHT(C_a a_t) * WHT(C_delta delta_t) / k), with CountSketches C_a and C_delta.
///
/// Floor: the factors read once, 8 bytes an output; of a token n + m additions and 2 k log2(k) more of the transforms, k
/// products. What it is for, a few tokens of many examples, takes microseconds: launches count, of which there are two.
///   tensor_table_kernel  sorts each factor's columns by bucket, once for all tokens: a bucket's sum is then a gather, in the
///                        order of the columns, without atomic additions of floats.
///   tensor_kernel        up to kTensorMaxShared buckets: a block takes the tokens of one example or of kTensorExamples, or a
///                        part of them. Both sketches, their transforms and the sum of products stay in shared memory; the
///                        last transform once a part. Values come in the order of the buckets, so that a bucket adds up
///                        neighbours in shared memory; what they wait for of the tables, they wait for once a block.
///   tensor_rows_kernel, tensor_pass_kernel, tensor_product_kernel
///                        more buckets: the same steps through the workspace. Right, not tuned.
#pragma once

#include "cuda/device/entries.cuh"
#include "cuda/device/hadamard.cuh"

namespace fimo::cuda {

constexpr int kTensorThreads = 256;
constexpr int kTensorTableThreads = 1024;
constexpr int kTensorMaxShared = 8192;    // buckets
constexpr int kTensorMaxTogether = 1024;  // buckets, where a block takes several examples
constexpr int kTensorExamples = 4;        // then
constexpr int kTensorStage = 4096;        // values in shared memory, on their way to their buckets

/// The columns of a factor by bucket: `entries` [dim], increasing columns of bucket 0, of bucket 1, ..., with the sign in the
/// top bit; those of bucket c begin at starts[c], and starts[k] is dim.
struct TensorTable {
  std::uint32_t* starts;
  std::uint32_t* entries;
  std::uint32_t* counts;  // [k], scratch, where shared memory does not hold them
  std::int64_t dim;
  std::uint64_t seed;
};

FIMO_DEVICE std::uint32_t tensor_bucket(std::uint32_t word, std::uint32_t k) {
  return static_cast<std::uint32_t>((static_cast<std::uint64_t>(word >> 1) * k) >> 31);
}

struct TensorTableShared {
  std::uint32_t warps[kWarp];  // sums before the scan
};

/// The sum of x over the threads before this one.
FIMO_DEVICE std::uint32_t tensor_before(TensorTableShared& s, std::uint32_t x) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  std::uint32_t sum = x;
  for (int d = 1; d < kWarp; d *= 2) {
    const std::uint32_t other = __shfl_up_sync(kAllLanes, sum, static_cast<unsigned>(d));
    if (lane >= d) sum += other;
  }
  if (lane == kWarp - 1) s.warps[warp] = sum;
  __syncthreads();
  std::uint32_t before = 0;
  for (int w = 0; w < warp; ++w) before += s.warps[w];
  return before + sum - x;
}

/// Grid: one block a factor. Counts the columns of each bucket; their sums before a bucket are its start; a column's place is
/// its rank among those of its bucket, which lie there in any order for a while.
__global__ void __launch_bounds__(kTensorTableThreads)
    tensor_table_kernel(TensorTable of_a, TensorTable of_delta, std::uint32_t k) {
  auto& s = shared<TensorTableShared>();
  const TensorTable table = blockIdx.x == 0 ? of_a : of_delta;
  const auto dim = static_cast<std::uint32_t>(table.dim);
  for (std::uint32_t c = threadIdx.x; c < k; c += kTensorTableThreads) table.counts[c] = 0;
  __syncthreads();
  for (std::uint32_t block = threadIdx.x; 4 * block < dim; block += kTensorTableThreads) {
    const PhiloxBlock bits = philox(block, 0, kStreamSjlt, table.seed);
    for (std::uint32_t i = 0; i < 4 && 4 * block + i < dim; ++i) atomicAdd(&table.counts[tensor_bucket(bits.word[i], k)], 1u);
  }
  __syncthreads();
  // Each thread adds up some neighbouring buckets.
  const std::uint32_t some = (k + kTensorTableThreads - 1) / kTensorTableThreads;
  const std::uint64_t begin = static_cast<std::uint64_t>(threadIdx.x) * some;
  const auto first = static_cast<std::uint32_t>(begin < k ? begin : k), last = k - first < some ? k : first + some;
  std::uint32_t sum = 0;
  for (std::uint32_t c = first; c < last; ++c) sum += table.counts[c];
  std::uint32_t start = tensor_before(s, sum);
  for (std::uint32_t c = first; c < last; ++c) {
    const std::uint32_t count = table.counts[c];
    table.starts[c] = table.counts[c] = start;
    start += count;
  }
  if (threadIdx.x == 0) table.starts[k] = dim;
  __syncthreads();
  std::uint32_t* unsorted = table.entries + dim;
  for (std::uint32_t block = threadIdx.x; 4 * block < dim; block += kTensorTableThreads) {
    const PhiloxBlock bits = philox(block, 0, kStreamSjlt, table.seed);
    for (std::uint32_t i = 0; i < 4 && 4 * block + i < dim; ++i) {
      unsorted[atomicAdd(&table.counts[tensor_bucket(bits.word[i], k)], 1u)] = 4 * block + i;
    }
  }
  __syncthreads();
  for (std::uint32_t block = threadIdx.x; 4 * block < dim; block += kTensorTableThreads) {
    const PhiloxBlock bits = philox(block, 0, kStreamSjlt, table.seed);
    for (std::uint32_t i = 0; i < 4 && 4 * block + i < dim; ++i) {
      const std::uint32_t column = 4 * block + i, bucket = tensor_bucket(bits.word[i], k);
      const std::uint32_t begin_at = table.starts[bucket], end = table.starts[bucket + 1];
      std::uint32_t place = begin_at;
      for (std::uint32_t p = begin_at; p < end; ++p) place += unsorted[p] < column;
      table.entries[place] = column | (bits.word[i] & 1u) << 31;
    }
  }
}

/// The CountSketch of x at bucket c.
template <class Element>
FIMO_DEVICE float tensor_gather(const Element* x, const std::uint32_t* starts, const std::uint32_t* entries, std::uint32_t c) {
  float sum = 0.0f;
  const std::uint32_t end = starts[c + 1];
  for (std::uint32_t p = starts[c]; p < end; ++p) {
    const std::uint32_t entry = entries[p];
    const float value = to_float(x[entry & 0x7FFFFFFFu]);
    sum += entry >> 31 ? -value : value;
  }
  return sum;
}

template <class Element>
struct TensorTask {
  const Element *a, *delta;
  std::int64_t a_batch, a_token, delta_batch, delta_token;  // strides
  std::int64_t tokens, part;                                // of which a block takes `part`
  TensorTable of_a, of_delta;
  int log2_k;
  std::int64_t examples;
  float* out;
  std::int64_t stride;
  float* parts;  // [parts - 1, examples, k]
};

/// What lies where in shared memory: arrays of k floats, an example each, and the values.
template <int kExamples>
FIMO_HOST_DEVICE constexpr std::size_t tensor_shared_bytes(int log2_k) {
  return sizeof(float) * ((std::size_t{3 * kExamples} << log2_k) + kTensorStage);
}

/// to[e, hadamard_slot(c)] = bucket c of the CountSketch of example e's token, which lies at x + e stride; `examples` of
/// kExamples are there. Ends with a barrier.
template <class Element, int kExamples>
FIMO_DEVICE void tensor_sketch(const Element* x, std::int64_t stride, int examples, const TensorTable& table, int log2_k,
                               float* stage, float* to) {
  constexpr int kLoads = 8 / kExamples > 4 ? 8 / kExamples : 4, kBuckets = 4, kPositions = kTensorStage / kExamples;
  const int thread = static_cast<int>(threadIdx.x), k = 1 << log2_k;
  const Element* rows[kExamples];
#pragma unroll
  for (int e = 0; e < kExamples; ++e) rows[e] = x + (e < examples ? e : 0) * stride;
  for (std::int64_t begin = 0; begin < table.dim; begin += kPositions) {
    const int count = table.dim - begin < kPositions ? static_cast<int>(table.dim - begin) : kPositions;
    const std::uint32_t* entries = table.entries + begin;
#pragma unroll 1
    for (int i = thread; i < count; i += kLoads * kTensorThreads) {
      std::uint32_t entry[kLoads];
      float value[kLoads][kExamples];
#pragma unroll
      for (int l = 0; l < kLoads; ++l) entry[l] = i + l * kTensorThreads < count ? entries[i + l * kTensorThreads] : 0;
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
#pragma unroll
        for (int e = 0; e < kExamples; ++e) value[l][e] = to_float(rows[e][entry[l] & 0x7FFFFFFFu]);
      }
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
        const int at = i + l * kTensorThreads;
        if (at < count) {
#pragma unroll
          for (int e = 0; e < kExamples; ++e) stage[e * kPositions + at] = flip(value[l][e], entry[l]);
        }
      }
    }
    __syncthreads();
#pragma unroll 1
    for (int c = thread; c < k; c += kBuckets * kTensorThreads) {
      int first[kBuckets], values[kBuckets], longest = 0;
      float sums[kBuckets][kExamples];
#pragma unroll
      for (int b = 0; b < kBuckets; ++b) {
        const int bucket = c + b * kTensorThreads < k ? c + b * kTensorThreads : c;
        // Of the bucket's range, what is there now.
        const int before = static_cast<int>(begin);  // below 2^31, as dim
        first[b] = min(max(static_cast<int>(table.starts[bucket]) - before, 0), count);
        values[b] = min(max(static_cast<int>(table.starts[bucket + 1]) - before, 0), count) - first[b];
        longest = max(longest, values[b]);
#pragma unroll
        for (int e = 0; e < kExamples; ++e) {
          sums[b][e] = begin == 0 ? 0.0f : to[(e << log2_k) + hadamard_slot(bucket)];
        }
      }
#pragma unroll 1
      for (int v = 0; v < longest; ++v) {
#pragma unroll
        for (int b = 0; b < kBuckets; ++b) {
          if (v < values[b]) {
#pragma unroll
            for (int e = 0; e < kExamples; ++e) sums[b][e] += stage[e * kPositions + first[b] + v];
          }
        }
      }
#pragma unroll
      for (int b = 0; b < kBuckets; ++b) {
        const int bucket = c + b * kTensorThreads;
        if (bucket < k) {
#pragma unroll
          for (int e = 0; e < kExamples; ++e) to[(e << log2_k) + hadamard_slot(bucket)] = sums[b][e];
        }
      }
    }
    __syncthreads();
  }
}

/// Grid: x: kExamples examples each; y: parts of the tokens, of which the first is added to out. Parts are of one example each.
template <class Element, int kExamples>
__global__ void __launch_bounds__(kTensorThreads, 2) tensor_kernel(TensorTask<Element> task) {
  constexpr int kTogether = 4 / kExamples;  // of a thread's outputs, whose loads are under way at the same time
  const int thread = static_cast<int>(threadIdx.x), all = kExamples << task.log2_k;
  float* of_a = &shared<float>();
  float *of_delta = of_a + all, *sums = of_delta + all, *stage = sums + all;
  const std::int64_t example = static_cast<std::int64_t>(blockIdx.x) * kExamples, first = blockIdx.y * task.part;
  const std::int64_t last = first + task.part < task.tokens ? first + task.part : task.tokens;
  const int examples = task.examples - example < kExamples ? static_cast<int>(task.examples - example) : kExamples;
  for (std::int64_t t = first; t < last; ++t) {
    tensor_sketch<Element, kExamples>(task.a + example * task.a_batch + t * task.a_token, task.a_batch, examples, task.of_a,
                                      task.log2_k, stage, of_a);
    tensor_sketch<Element, kExamples>(task.delta + example * task.delta_batch + t * task.delta_token, task.delta_batch,
                                      examples, task.of_delta, task.log2_k, stage, of_delta);
    hadamard_shared(of_a, task.log2_k, 2 * kExamples, thread, kTensorThreads);  // and of_delta behind it
    for (int i = thread; i < all; i += kTensorThreads) {
      const float product = of_a[i] * of_delta[i];
      sums[i] = t > first ? sums[i] + product : product;
    }
  }
  const float inverse = 1.0f / static_cast<float>(1 << task.log2_k);
  for (int i = thread; i < all; i += kTensorThreads) sums[i] *= inverse;
  __syncthreads();
  hadamard_shared(sums, task.log2_k, kExamples, thread, kTensorThreads);
  const bool is_first = blockIdx.y == 0;
  float* out =
      is_first ? task.out + example * task.stride : task.parts + (((blockIdx.y - 1) * task.examples + example) << task.log2_k);
#pragma unroll kTogether
  for (int c = thread; c < 1 << task.log2_k; c += kTensorThreads) {
    const int slot = hadamard_slot(c);
    float old[kExamples];
#pragma unroll
    for (int e = 0; e < kExamples; ++e) old[e] = is_first && (e == 0 || e < examples) ? out[e * task.stride + c] : 0.0f;
#pragma unroll
    for (int e = 0; e < kExamples; ++e) {
      if (e == 0 || e < examples) out[e * task.stride + c] = old[e] + sums[(e << task.log2_k) + slot];
    }
  }
}

// --- Many buckets: k, a power of two above kTensorMaxShared, is a multiple of what a block takes -------------
static_assert(kTensorMaxShared % (16 * kTensorThreads) == 0);

/// y[row, c] = the CountSketch at bucket c of token row % tokens of example row / tokens. Grid: rows x blocks of buckets.
template <class Element>
__global__ void __launch_bounds__(kTensorThreads)
    tensor_rows_kernel(const Element* x, std::int64_t batch_stride, std::int64_t token_stride, std::int64_t tokens,
                       TensorTable table, std::int64_t k, float* y) {
  const std::int64_t blocks = k / kTensorThreads, row = blockIdx.x / blocks;
  const std::int64_t c = blockIdx.x % blocks * kTensorThreads + threadIdx.x;
  const Element* token = x + row / tokens * batch_stride + row % tokens * token_stride;
  y[row * k + c] = tensor_gather(token, table.starts, table.entries, static_cast<std::uint32_t>(c));
}

/// The stages of strides 2^low, ..., R 2^low / 2 of all rows of x, which lie one after the other.
template <int R>
__global__ void __launch_bounds__(kTensorThreads) tensor_pass_kernel(float* x, int low) {
  const std::int64_t group = static_cast<std::int64_t>(blockIdx.x) * kTensorThreads + threadIdx.x;
  const std::int64_t below = group & ((std::int64_t{1} << low) - 1), first = (group - below) * R + below;
  float v[R];
#pragma unroll
  for (int i = 0; i < R; ++i) v[i] = x[first + (static_cast<std::int64_t>(i) << low)];
  hadamard_registers(v);
#pragma unroll
  for (int i = 0; i < R; ++i) x[first + (static_cast<std::int64_t>(i) << low)] = v[i];
}

/// sums[b, c] (+)= sum_t a[b, t, c] delta[b, t, c] / k.
__global__ void __launch_bounds__(kTensorThreads)
    tensor_product_kernel(const float* a, const float* delta, std::int64_t tokens, std::int64_t k, bool add, float* sums) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kTensorThreads + threadIdx.x;
  const std::int64_t at = i / k * tokens * k + i % k;
  float sum = 0.0f;
  for (std::int64_t t = 0; t < tokens; ++t) sum += a[at + t * k] * delta[at + t * k];
  sum *= 1.0f / static_cast<float>(k);
  sums[i] = add ? sums[i] + sum : sum;
}

}  // namespace fimo::cuda

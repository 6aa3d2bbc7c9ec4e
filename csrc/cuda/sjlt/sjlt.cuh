// SPDX-License-Identifier: Apache-2.0
/// \file
/// SJLT of vectors: out[b, bucket] += the sum of ±(scale x[b, j]) over the table's list of the bucket, in increasing order of
/// j.
///
/// Floor: the input's bytes once (2^20 coordinates of 32 rows: 40 us in float32, 20 us in bfloat16), a load from shared memory
/// and an addition for each nonzero and row.
///
/// Sums are gathered, not scattered: no atomics, and an order that depends on sizes only. A block owns kRows rows (16 bytes of
/// a coordinate: 4 of float32, 8 of bfloat16) and kOwned buckets, whose 32 sums a thread stay in registers while it walks over
/// its part of the coordinates, a chunk at a time: rows and table come to shared memory, the rows transposed so that one
/// 16-byte load brings a coordinate of all rows; then every thread adds up the lists of its buckets. Two blocks share a
/// multiprocessor, so that one loads while the other adds. An input may be aligned in any way: neighbouring lanes load
/// neighbouring elements, one at a time, which costs a tenth of what the additions cost.
///
/// The additions of an entry take about 9 + 4 instructions in float32, 9 + 16 for 8 rows of bfloat16 (each number is
/// converted). Lists of a warp differ in length (Poisson, mean chunk * nonzeros / sketch_dim): with a mean of 4 about half of
/// the lanes work. Random 16-byte loads take 2.6 passes for 8 lanes: with 4 nonzeros of float32, that bounds it (47 us); with
/// one, the input does.
#pragma once

#include <type_traits>

#include "cuda/device/instructions.cuh"
#include "cuda/sjlt/sjlt_table.cuh"

namespace fimo::cuda {

constexpr int kSjltThreads = 512;
constexpr int kSjltSums = 32;  // of a thread

/// How the work is cut: blockIdx.x = (part * groups + group of rows) * ranges + range of buckets.
struct SjltCut {
  std::int64_t count;   // coordinates
  std::int64_t groups;  // of rows
  int parts, ranges;
  int chunk;         // coordinates
  int chunks, each;  // in all, and of a part (the last parts may have fewer)
};

/// What block `block` owns.
struct SjltPlace {
  std::int64_t first_row;
  int part, rows, first_bucket, buckets;
};

template <class Element>
struct SjltTile {
  static constexpr int kRows = 16 / static_cast<int>(sizeof(Element));
  static constexpr int kSlots = kSjltSums / kRows;            // buckets of a thread
  static constexpr int kOwned = kSjltThreads * kSlots;        // buckets of a block
  static constexpr int kUnroll = kRows == 4 ? 4 : 1;          // coordinates a thread loads at once
  static constexpr int kEntries = kSjltEntries / 8 * 8 + 16;  // with what lies beside them in 16 bytes
  static constexpr int kStarts = kOwned + 8;

  struct Shared {
    uint4 x[kSjltPositions];
    SjltEntry entries[kEntries];
    std::uint16_t starts[kStarts];
    SjltPlace own;
  };
};

/// The 16 bytes of kRows elements, one of each row.
FIMO_DEVICE uint4 packed(const float (&x)[4]) {
  return make_uint4(__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]), __float_as_uint(x[3]));
}
FIMO_DEVICE uint4 packed(const std::uint16_t (&x)[8]) {
  const auto two = [&](int i) { return static_cast<unsigned>(x[i]) | static_cast<unsigned>(x[i + 1]) << 16; };
  return make_uint4(two(0), two(2), two(4), two(6));
}

/// sum[i] += factor * element i of x.
FIMO_DEVICE void add_packed(float* sum, float factor, uint4 x, const float*) {
  sum[0] = fmaf(__uint_as_float(x.x), factor, sum[0]);
  sum[1] = fmaf(__uint_as_float(x.y), factor, sum[1]);
  sum[2] = fmaf(__uint_as_float(x.z), factor, sum[2]);
  sum[3] = fmaf(__uint_as_float(x.w), factor, sum[3]);
}
FIMO_DEVICE void add_packed(float* sum, float factor, uint4 x, const __nv_bfloat16*) {
  const unsigned two[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum[2 * i] = fmaf(__uint_as_float(two[i] << 16), factor, sum[2 * i]);
    sum[2 * i + 1] = fmaf(__uint_as_float(two[i] & 0xFFFF0000u), factor, sum[2 * i + 1]);
  }
}
FIMO_DEVICE void add_packed(float* sum, float factor, uint4 x, const __half*) {
  const unsigned two[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const auto half = [&](int shift) { return __half2float(__ushort_as_half(static_cast<unsigned short>(two[i] >> shift))); };
    sum[2 * i] = fmaf(half(0), factor, sum[2 * i]);
    sum[2 * i + 1] = fmaf(half(16), factor, sum[2 * i + 1]);
  }
}

template <class Tile>
FIMO_DEVICE SjltPlace sjlt_place(const SjltCut& cut, unsigned block, std::int64_t rows, int buckets) {
  const unsigned ranges = static_cast<unsigned>(cut.ranges), groups = static_cast<unsigned>(cut.groups);
  const int first_bucket = static_cast<int>(block % ranges) * Tile::kOwned;
  const std::int64_t first_row = static_cast<std::int64_t>(block / ranges % groups) * Tile::kRows;
  return {first_row, static_cast<int>(block / ranges / groups),
          static_cast<int>(min(rows - first_row, static_cast<std::int64_t>(Tile::kRows))), first_bucket,
          min(buckets - first_bucket, Tile::kOwned)};
}

/// Rows in memory.
template <class Element>
struct SjltRows {
  const Element* data;
  std::int64_t rows, stride;

  SjltRows from(std::int64_t begin) const { return {data + begin, rows, stride}; }

  /// x[p] = the numbers at begin + p of own rows, for p < places.
  FIMO_DEVICE void bring(uint4* x, const SjltPlace& own, std::int64_t begin, int places) const {
    using Tile = SjltTile<Element>;
    using Bits = std::conditional_t<sizeof(Element) == 4, float, std::uint16_t>;
    const int some = own.rows;
    const Bits* row = reinterpret_cast<const Bits*>(data) + own.first_row * stride;
    // Unrolling this loop further would not fit into the 64 registers of a thread.
#pragma unroll 1
    for (int p = static_cast<int>(threadIdx.x); p < places; p += Tile::kUnroll * kSjltThreads) {
      Bits value[Tile::kUnroll][Tile::kRows];
      std::int64_t at = begin + p;
#pragma unroll
      for (int r = 0; r < Tile::kRows; ++r) {
#pragma unroll
        for (int u = 0; u < Tile::kUnroll; ++u) {
          value[u][r] = r < some && p + u * kSjltThreads < places ? row[at + u * kSjltThreads] : Bits(0);
        }
        at = opaque(at + stride);  // one row's address at a time: registers are full of sums
      }
#pragma unroll
      for (int u = 0; u < Tile::kUnroll; ++u) {
        if (p + u * kSjltThreads < places) x[p + u * kSjltThreads] = packed(value[u]);
      }
    }
  }
};

/// Rows of sums of outer products that are nowhere in memory: the number at i * a_dim + c of row b is sum_t delta[b, t, i]
/// a[b, t, c]. Reading both factors (from the caches) costs less than writing the product and reading it, for a few tokens.
struct SjltProducts {
  const float *a, *delta;  // [rows, tokens, a_dim], [rows, tokens, delta_dim]
  std::int64_t rows;
  int tokens, a_dim, delta_dim;
  std::int64_t first;

  SjltProducts from(std::int64_t begin) const { return {a, delta, rows, tokens, a_dim, delta_dim, first + begin}; }

  FIMO_DEVICE void bring(uint4* x, const SjltPlace& own, std::int64_t begin, int places) const {
    const std::int64_t a_step = std::int64_t{tokens} * a_dim, delta_step = std::int64_t{tokens} * delta_dim;
#pragma unroll 1
    for (int task = static_cast<int>(threadIdx.x); task < 2 * places; task += kSjltThreads) {  // two rows of a place
      const int p = task >> 1, row = 2 * (task & 1);
      const std::uint32_t at = static_cast<std::uint32_t>(first + begin + p), i = at / static_cast<std::uint32_t>(a_dim);
      const float* in_a = a + (own.first_row + row) * a_step + (at - i * static_cast<std::uint32_t>(a_dim));
      const float* in_delta = delta + (own.first_row + row) * delta_step + i;
      float value = 0.0f, value2 = 0.0f;
#pragma unroll 1
      for (int t = 0; t < tokens; ++t, in_a += a_dim, in_delta += delta_dim) {
        if (row < own.rows) value = fmaf(in_delta[0], in_a[0], value);
        if (row + 1 < own.rows) value2 = fmaf(in_delta[delta_step], in_a[a_step], value2);
      }
      reinterpret_cast<uint2*>(x)[task] = make_uint2(__float_as_uint(value), __float_as_uint(value2));
    }
  }
};

/// Adds to out[part_stride * part + row * row_stride + bucket] where there is one part; else stores there.
template <class Element, class Source>
FIMO_DEVICE void sjlt_block(const Source& source, const SjltTable& table, int buckets, float scale, const SjltCut& cut,
                            float* out, std::int64_t out_stride, std::int64_t part_stride) {
  using Tile = SjltTile<Element>;
  auto& s = shared<typename Tile::Shared>();
  const int thread = static_cast<int>(threadIdx.x);
  // Read anew in every chunk: registers are full of sums.
  const SjltPlace& own = s.own;
  if (thread == 0) s.own = sjlt_place<Tile>(cut, blockIdx.x, source.rows, buckets);
  __syncthreads();

  float sums[Tile::kSlots][Tile::kRows];
#pragma unroll
  for (int i = 0; i < Tile::kSlots; ++i) {
#pragma unroll
    for (int r = 0; r < Tile::kRows; ++r) sums[i][r] = 0.0f;
  }
#pragma unroll 1
  for (int turn = 0; turn < cut.each; ++turn) {
    const int c = own.part * cut.each + turn;
    if (c >= cut.chunks) break;
    const std::int64_t begin = static_cast<std::int64_t>(c) * cut.chunk;
    const int places = static_cast<int>(min(cut.count - begin, static_cast<std::int64_t>(cut.chunk)));
    const std::uint16_t* starts = table.starts + c * table.starts_stride + own.first_bucket;
    const int low = starts[0] & ~7, high = starts[own.buckets];
    const SjltEntry* entries = table.entries + c * table.entries_stride + low;
    source.bring(s.x, own, begin, places);
#pragma unroll 1
    for (int i = 8 * thread; i <= own.buckets; i += 8 * kSjltThreads) {
      *reinterpret_cast<uint4*>(s.starts + i) = *reinterpret_cast<const uint4*>(starts + i);
    }
#pragma unroll 1
    for (int i = 8 * thread; i < high - low; i += 8 * kSjltThreads) {
      *reinterpret_cast<uint4*>(s.entries + i) = *reinterpret_cast<const uint4*>(entries + i);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < Tile::kSlots; ++i) {
      const int b = i * kSjltThreads + thread;
      if (b >= own.buckets) continue;
      const int list_end = s.starts[b + 1] - low;
      for (int at = s.starts[b] - low; at < list_end; ++at) {
        const std::uint32_t entry = s.entries[at];
        add_packed(sums[i], flip(scale, entry << 16), s.x[entry & 0x7FFFu], static_cast<const Element*>(nullptr));
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < Tile::kSlots; ++i) {
    const int b = i * kSjltThreads + thread;
    if (b >= own.buckets) continue;
    float* to = out + own.part * part_stride + own.first_row * out_stride + own.first_bucket + b;
    if (cut.parts == 1) {  // all loads first: they do not wait for each other's stores
      float old[Tile::kRows];
#pragma unroll
      for (int r = 0; r < Tile::kRows; ++r) old[r] = r < own.rows ? to[r * out_stride] : 0.0f;
#pragma unroll
      for (int r = 0; r < Tile::kRows; ++r) sums[i][r] += old[r];
    }
#pragma unroll
    for (int r = 0; r < Tile::kRows; ++r) {
      if (r < own.rows) to[r * out_stride] = sums[i][r];
    }
  }
}

template <class Element>
__global__ void __launch_bounds__(kSjltThreads, 2)
    sjlt_kernel(SjltRows<Element> source, SjltTable table, int buckets, float scale, SjltCut cut, float* out,
                std::int64_t out_stride, std::int64_t part_stride) {
  sjlt_block<Element>(source, table, buckets, scale, cut, out, out_stride, part_stride);
}

__global__ void __launch_bounds__(kSjltThreads, 2)
    sjlt_products_kernel(SjltProducts source, SjltTable table, int buckets, float scale, SjltCut cut, float* out,
                         std::int64_t out_stride, std::int64_t part_stride) {
  sjlt_block<float>(source, table, buckets, scale, cut, out, out_stride, part_stride);
}

}  // namespace fimo::cuda

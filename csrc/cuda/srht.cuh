// SPDX-License-Identifier: Apache-2.0
/// \file
/// SRHT with blocks of 32 to 16384 coordinates: out[row] += scale * sum over blocks of ± WHT(± x[row, block]).
///
/// Floor: every element read once from memory, sizeof(Element) bytes; log2(L) additions. Instructions for an element of
/// float32, L = 2048: 11 additions, 2 for the sign in (shift, flip), 3 for the sign out (shift, factor, multiply-add), 1.3 for
/// the exchange (vectors of 4 in and out, of 2 behind it), 0.6 to bring it in, 1.3 for its two random bits: about 20, which an
/// H100 issues in half the time that the memory takes for it. Of 16 bits: four of the stages are 0.25 instructions (a product
/// with the 16 x 16 Hadamard matrix in tensor cores, exact), the sign in flips two at once: about 16 for half the bytes.
///
/// A group of 2^Bits / 64 threads transforms a tile of 2^Bits coordinates, 64 in the registers of each thread, with one
/// exchange through shared memory (two for float32 and L > 4096); its sums over tiles stay in registers. One warp is enough for
/// L <= 2048: no barrier of the block then. The next tile comes by cp.async meanwhile, and its signs are generated: 24 to 96
/// KiB are on their way to each multiprocessor. Shorter blocks share a tile: stages across them are left out, and their sums
/// are added at the end. A block of threads has one row and a run of tiles, which its groups take in turn; their sums are added
/// in shared memory, those of the runs by add_parts.
#pragma once

#include "cuda/srht_tile.cuh"

namespace fimo::cuda {

/// Which rows of the transform are kept, by words of 32 rows (srht_rows.cuh).
struct SrhtRows {
  const std::uint32_t* kept;   // [words]; null if all are
  const std::int32_t* first;   // [words], the number of rows kept before
  const std::uint32_t* moved;  // [words, 5], where bits go when the kept rows' signs are spread to their places
};

struct SrhtTask {
  const void* x;
  std::int64_t row_stride;
  bool aligned;             // every tile of every row begins at a multiple of 16 bytes
  std::int64_t begin, end;  // coordinates
  std::int64_t first_tile, tiles;
  std::int64_t rows, parts;
  std::uint64_t seed;
  int log2_block, sketch_dim;
  float scale;
  SrhtRows kept;
  float* out;  // += with one part, else [parts, rows, sketch_dim], overwritten
  std::int64_t out_stride;
};

template <class Element, int kBits>
struct SrhtTile {
  static constexpr bool k16Bit = sizeof(Element) == 2;
  using Phases = SrhtPhases<k16Bit, kBits>;
  static constexpr int kTileBits = kBits;
  static constexpr int kSize = 1 << kBits;
  static constexpr int kThreads = kSize / kSrhtRegs;
  /// Threads of a block: four warps, or what a tile takes.
  static constexpr int kBlockThreads = kThreads < 128 ? 128 : kThreads;
  static constexpr int kBlocksPerSm = kThreads > 128 ? 1 : 3;
  static constexpr int kFloats = kSize + (kSize >> Phases::kGapShift) * Phases::kGap;
  static constexpr int kVector = 16 / static_cast<int>(sizeof(Element));

  /// Where element i of a tile that has come in lies: float32 is transformed in place.
  static FIMO_DEVICE int slot(int i) { return k16Bit ? i : srht_slot<Phases>(i); }
};

/// Of a group of threads.
template <class Element, int kBits>
struct alignas(16) SrhtShared {
  using Tile = SrhtTile<Element, kBits>;
  Element tile[2][Tile::k16Bit ? Tile::kSize : Tile::kFloats];
  float exchange[Tile::k16Bit ? Tile::kFloats : 4];
  std::uint32_t signs_in[2][Tile::kSize / 32], signs_out[2][Tile::kSize / 32];
  std::uint32_t columns[Tile::kSize / 32];  // signs out by column, where not all rows are kept
};

/// Where the floats of a tile meet between phases.
template <class Element, int kBits>
FIMO_DEVICE float* srht_exchange(SrhtShared<Element, kBits>& shared, int now) {
  if constexpr (sizeof(Element) == 2) {
    return shared.exchange;
  } else {
    return shared.tile[now];
  }
}

template <int kThreads>
FIMO_DEVICE void srht_barrier() {
  if constexpr (kThreads == kWarp) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}

/// Words of signs out of a block.
FIMO_DEVICE int srht_sign_words(const SrhtTask& task) {
  return task.log2_block < 7 ? 1 << (task.log2_block - 5) : (task.sketch_dim + 127) / 128 * 4;
}

/// The random bits of a tile. Those of the way out are by column; without `kept`, that is by row.
template <class Tile>
FIMO_DEVICE void srht_signs(const SrhtTask& task, std::int64_t tile, std::uint32_t* in, std::uint32_t* out, int thread) {
  constexpr int kIn = Tile::kSize / 128;
  const int words = srht_sign_words(task), each = words < 4 ? words : 4;
  const int count = words / each << (Tile::kTileBits - task.log2_block);
  for (int i = thread; i < kIn + count; i += Tile::kThreads) {
    const bool is_in = i < kIn;
    const std::uint64_t index =
        is_in ? static_cast<std::uint64_t>(tile) * kIn + i : static_cast<std::uint64_t>(tile) * count + (i - kIn);
    const PhiloxBlock bits = philox(index, 0, is_in ? kStreamSrhtIn : kStreamSrhtOut, task.seed);
    std::uint32_t* to = is_in ? in + 4 * i : out + each * (i - kIn);
    if (is_in || each == 4) {
      *reinterpret_cast<uint4*>(to) = make_uint4(bits.word[0], bits.word[1], bits.word[2], bits.word[3]);
    } else {
      to[0] = bits.word[0];
      if (each == 2) to[1] = bits.word[1];
    }
  }
}

/// Signs out by row from those by column. Rows that are not kept get any sign.
template <class Tile>
FIMO_DEVICE void srht_spread(const SrhtTask& task, const std::uint32_t* columns, std::uint32_t* out, int thread) {
  const int words = srht_sign_words(task), shift = task.log2_block - 5;
  for (int w = thread; w < Tile::kSize / 32; w += Tile::kThreads) {
    const int in_block = w & ((1 << shift) - 1);
    const std::uint32_t* from = columns + (w >> shift) * words;
    const int first = __ldg(task.kept.first + in_block), last = words - 1;
    const std::uint32_t low = from[min(first / 32, last)], high = from[min(first / 32 + 1, last)];
    std::uint32_t bits = static_cast<std::uint32_t>((static_cast<std::uint64_t>(high) << 32 | low) >> first % 32);
#pragma unroll
    for (int digit = 4; digit >= 0; --digit) {
      const std::uint32_t moved = __ldg(task.kept.moved + 5 * in_block + digit);
      bits = (bits & ~moved) | ((bits << (1 << digit)) & moved);
    }
    out[w] = bits;
  }
}

/// Starts bringing in a tile; zeros where the slice does not reach.
template <class Tile, class Element>
FIMO_DEVICE void srht_fetch(const SrhtTask& task, const Element* row, std::int64_t tile, Element* to, int thread) {
  constexpr int kStep = Tile::kThreads * Tile::kVector;
  const std::int64_t start = tile * Tile::kSize;
  if (task.aligned && start >= task.begin && start + Tile::kSize <= task.end) {
    const Element* from = row + (start - task.begin);
#pragma unroll
    for (int i = 0; i < Tile::kSize; i += kStep) {
      const int at = i + thread * Tile::kVector;
      copy_async<16>(to + Tile::slot(at), from + at, true);
    }
    return;
  }
  for (int i = thread; i < Tile::kSize; i += Tile::kThreads) {
    const std::int64_t j = start + i;
    Element value{};
    if (j >= task.begin && j < task.end) value = row[j - task.begin];
    to[Tile::slot(i)] = value;
  }
}

template <class Element, int kBits>
__global__ void __launch_bounds__((SrhtTile<Element, kBits>::kBlockThreads), (SrhtTile<Element, kBits>::kBlocksPerSm))
    srht_kernel(const SrhtTask task) {
  using Tile = SrhtTile<Element, kBits>;
  using Phases = typename Tile::Phases;
  using Shared = SrhtShared<Element, kBits>;
  constexpr bool kPacked = kBits == 11;
  const int thread = static_cast<int>(threadIdx.x) % Tile::kThreads, group = static_cast<int>(threadIdx.x) / Tile::kThreads;
  const int groups = static_cast<int>(blockDim.x) / Tile::kThreads;
  Shared* const all = &shared<Shared>();
  Shared& mine = all[group];
  const std::int64_t row = blockIdx.x % task.rows, part = blockIdx.x / task.rows;
  const Element* x = static_cast<const Element*>(task.x) + row * task.row_stride;
  const std::int64_t first = task.first_tile + task.tiles * part / task.parts;
  const std::int64_t last = task.first_tile + task.tiles * (part + 1) / task.parts;

  const int at_load = Phases::Load::base(thread), at_last = Phases::Last::base(thread);
  std::uint32_t matrix[4];
  if constexpr (Tile::k16Bit) srht_matrix<Element>(matrix, thread % kWarp);
  float sums[kSrhtRegs];
#pragma unroll
  for (int r = 0; r < kSrhtRegs; ++r) sums[r] = 0.0f;

  std::uint32_t* const columns = task.kept.kept ? mine.columns : nullptr;
  if (first + group < last) {
    srht_fetch<Tile>(task, x, first + group, mine.tile[0], thread);
    srht_signs<Tile>(task, first + group, mine.signs_in[0], columns ? columns : mine.signs_out[0], thread);
  }
  copy_async_commit();
  if (columns) {
    srht_barrier<Tile::kThreads>();
    if (first + group < last) srht_spread<Tile>(task, columns, mine.signs_out[0], thread);
  }
  // Every group takes as many steps, since they may share barriers.
  int now = 0;
  for (std::int64_t step = first; step < last; step += groups, now ^= 1) {
    const std::int64_t tile = step + group, next = tile + groups;
    copy_async_wait<0>();
    srht_barrier<Tile::kThreads>();  // this tile and its signs are there, and nobody reads the last one's
    if (next < last) {
      srht_fetch<Tile>(task, x, next, mine.tile[now ^ 1], thread);
      srht_signs<Tile>(task, next, mine.signs_in[now ^ 1], columns ? columns : mine.signs_out[now ^ 1], thread);
    }
    copy_async_commit();
    float v[kSrhtRegs];
    float* const exchange = srht_exchange(mine, now);
    if (tile >= last) {
      // This group has nothing left to do.
    } else if constexpr (Tile::k16Bit) {
      srht_product<Phases>(v, mine.tile[now], mine.signs_in[now], at_load, matrix);
      srht_stages<typename Phases::Product, kPacked>(v, task.log2_block);
      srht_write<Phases, typename Phases::Product>(exchange + srht_slot<Phases>(Phases::Product::base(thread)), v);
    } else {
      srht_load<Phases>(v, exchange, mine.signs_in[now], at_load);
      srht_stages<typename Phases::Load, kPacked>(v, task.log2_block);
      srht_write<Phases, typename Phases::Load>(exchange + srht_slot<Phases>(at_load), v);
      if constexpr (Phases::kThree) {
        using Middle = typename Phases::Middle;
        srht_barrier<Tile::kThreads>();
        float* at = exchange + srht_slot<Phases>(Middle::base(thread));
        srht_read<Phases, Middle>(v, at);
        srht_stages<Middle, kPacked>(v, task.log2_block);
        srht_write<Phases, Middle>(at, v);
      }
    }
    srht_barrier<Tile::kThreads>();
    if (columns && next < last) srht_spread<Tile>(task, columns, mine.signs_out[now ^ 1], thread);
    if (tile < last) {
      srht_read<Phases, typename Phases::Last>(v, exchange + srht_slot<Phases>(at_last));
      srht_stages<typename Phases::Last, kPacked>(v, task.log2_block);
      srht_add<Phases>(sums, v, mine.signs_out[now], at_last, task.scale);
    }
  }

  // Sums of the groups, and of the blocks that shared a tile.
  srht_barrier<Tile::kThreads>();
  srht_write<Phases, typename Phases::Last>(srht_exchange(mine, 0) + srht_slot<Phases>(at_last), sums);
  __syncthreads();
  const int size = 1 << task.log2_block;
  float* out = task.out + (part * task.rows + row) * task.out_stride;
  for (int r = static_cast<int>(threadIdx.x); r < size; r += static_cast<int>(blockDim.x)) {
    int column = r;
    if (columns) {
      const std::uint32_t kept = task.kept.kept[r / 32];
      if (!(kept >> r % 32 & 1)) continue;
      column = task.kept.first[r / 32] + __popc(kept & ((1u << r % 32) - 1));
    }
    float sum = 0.0f;
    for (int g = 0; g < groups; ++g) {
      for (int i = r; i < Tile::kSize; i += size) sum += srht_exchange(all[g], 0)[srht_slot<Phases>(i)];
    }
    out[column] = task.parts == 1 ? out[column] + sum : sum;
  }
}

}  // namespace fimo::cuda

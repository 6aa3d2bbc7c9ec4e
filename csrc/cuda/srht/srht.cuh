// SPDX-License-Identifier: Apache-2.0
/// \file
/// SRHT with blocks of 32 to 16384 coordinates: out[row] += scale * sum over blocks of ± WHT(± x[row, block]).
///
/// Floor: every element read once from memory, sizeof(Element) bytes; log2(L) additions. Instructions for an element of
/// float32, L = 2048: 11 additions, 2 for the sign in (shift, flip), 3 for the sign out (shift, flip, multiply-add), 1.3 for
/// the exchange (vectors of 4 in and out, of 2 behind it), 0.6 to bring it in, 1.3 for its two random bits: about 21, which an
/// H100 issues in 60 % of the time that the memory takes for it. Of 16 bits: four of the stages are 0.25 instructions (a
/// product with the 16 x 16 Hadamard matrix in tensor cores, exact), the sign in flips two at once: about 16 for half the
/// bytes.
///
/// A group of 2^Bits / 64 threads transforms a tile of 2^Bits coordinates, 64 in the registers of each thread, with one
/// exchange through shared memory (two for float32 and L > 4096); its sums over tiles stay in registers. One warp is enough for
/// L <= 2048: no barrier of the block then. The next tile comes by cp.async meanwhile, and its signs are generated: 32 to 96
/// KiB are on their way to each multiprocessor. Shorter blocks share a tile: stages across them are left out, and their sums
/// are added at the end. A block of threads has one row and a run of tiles, which its groups take in turn; their sums are added
/// in shared memory, those of the runs by add_parts.
#pragma once

#include "cuda/srht/srht_tile.cuh"

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

/// `packed`: blocks may be shorter than the tile.
template <class Element, int kBits, bool packed>
struct SrhtTile {
  static constexpr bool kPacked = packed;
  static constexpr bool k16Bit = sizeof(Element) == 2;
  using Phases = SrhtPhases<k16Bit, kBits>;
  static constexpr int kTileBits = kBits;
  static constexpr int kSize = 1 << kBits;
  static constexpr int kThreads = kSize / kSrhtRegs;
  /// Threads of a block: four warps, or what a tile takes.
  static constexpr int kBlockThreads = kThreads < 128 ? 128 : kThreads;
  static constexpr int kBlocksPerSm = kThreads > 128 ? 1 : kPacked ? 2 : 3;
  static constexpr int kFloats = kSize + (kSize >> Phases::kGapShift) * Phases::kGap;
  static constexpr int kVector = 16 / static_cast<int>(sizeof(Element));

  /// Where element i of a tile that has come in lies: float32 is transformed in place.
  static FIMO_DEVICE int slot(int i) { return k16Bit ? i : srht_slot<Phases>(i); }
};

/// Of a group of threads.
template <class Element, class Tile>
struct alignas(16) SrhtShared {
  Element tile[2][Tile::k16Bit ? Tile::kSize : Tile::kFloats];
  float exchange[Tile::k16Bit ? Tile::kFloats : 4];
  std::uint32_t signs_in[2][Tile::kSize / 32], signs_out[2][Tile::kSize / 32];
  std::uint32_t columns[Tile::kSize / 32];  // signs out by column, where not all rows are kept
  // What is needed once a tile, since registers are full.
  const Element* x;    // the row
  std::int64_t first;  // tile of this block
};

/// Where the floats of a tile meet between phases.
template <class Element, class Tile>
FIMO_DEVICE float* srht_exchange(SrhtShared<Element, Tile>& shared, int now) {
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

/// Words of signs out of a block, which are 2^log2 for each of `calls` calls of Philox.
struct SrhtSignWords {
  int log2, calls;
};
template <bool kPacked>
FIMO_DEVICE SrhtSignWords srht_sign_words(const SrhtTask& task) {
  if (kPacked && task.log2_block < 7) return {task.log2_block - 5, 1};
  return {2, (task.sketch_dim + 127) >> 7};
}

/// The random bits of a tile. Those of the way out are by column; where all rows are kept, that is by row.
template <class Tile>
FIMO_DEVICE void srht_signs(const SrhtTask& task, std::int64_t tile, std::uint32_t* in, std::uint32_t* out, int thread) {
  constexpr int kIn = Tile::kSize / 128;
  const SrhtSignWords words = srht_sign_words<Tile::kPacked>(task);
  const int count = words.calls << (Tile::kPacked ? Tile::kTileBits - task.log2_block : 0);
#pragma unroll 1
  for (int i = thread; i < kIn + count; i += Tile::kThreads) {
    const bool is_in = i < kIn;
    const std::uint64_t index = static_cast<std::uint64_t>(tile) * (is_in ? kIn : count) + (is_in ? i : i - kIn);
    const PhiloxBlock bits = philox(index, 0, is_in ? kStreamSrhtIn : kStreamSrhtOut, task.seed);
    std::uint32_t* to = is_in ? in + 4 * i : out + ((i - kIn) << words.log2);
    if (is_in || words.log2 == 2) {
      *reinterpret_cast<uint4*>(to) = make_uint4(bits.word[0], bits.word[1], bits.word[2], bits.word[3]);
    } else {
      to[0] = bits.word[0];
      if (words.log2 == 1) to[1] = bits.word[1];
    }
  }
}

/// Signs out by row from those by column. Rows that are not kept get any sign.
template <class Tile>
FIMO_DEVICE void srht_spread(const SrhtTask& task, const std::uint32_t* columns, std::uint32_t* out, int thread) {
  const SrhtSignWords words = srht_sign_words<Tile::kPacked>(task);
  const int shift = Tile::kPacked ? task.log2_block - 5 : Tile::kTileBits - 5, last = (words.calls << words.log2) - 1;
#pragma unroll 1
  for (int w = thread; w < Tile::kSize / 32; w += Tile::kThreads) {
    const int in_block = w & ((1 << shift) - 1);
    const std::uint32_t* from = columns + (w >> shift) * (last + 1);
    const int first = __ldg(task.kept.first + in_block), word = first >> 5;
    const std::uint32_t low = from[min(word, last)], high = from[min(word + 1, last)];
    std::uint32_t bits = static_cast<std::uint32_t>((static_cast<std::uint64_t>(high) << 32 | low) >> (first & 31));
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
    const Element* from = row + (start - task.begin) + thread * Tile::kVector;
    to += Tile::slot(thread * Tile::kVector);
#pragma unroll
    for (int i = 0; i < Tile::kSize; i += kStep) copy_async<16>(to + Tile::slot(i), from + i, true);
    return;
  }
  if (task.aligned && start >= task.begin) {  // the last tile, which the row does not fill
#pragma unroll 1
    for (int i = thread * Tile::kVector; i < Tile::kSize; i += kStep) {
      const std::int64_t left = (task.end - start - i) * static_cast<std::int64_t>(sizeof(Element));
      const int inside = left < 0 ? 0 : left < 16 ? static_cast<int>(left) : 16;
      copy_async_part<16>(to + Tile::slot(i), row + (inside > 0 ? start - task.begin + i : 0), inside);
    }
    return;
  }
#pragma unroll 1
  for (int i = thread; i < Tile::kSize; i += Tile::kThreads) {
    const std::int64_t j = start + i;
    Element value{};
    if (j >= task.begin && j < task.end) value = row[j - task.begin];
    to[Tile::slot(i)] = value;
  }
}

/// The kernel; fetch(x, tile, to, thread) starts bringing in a tile of row x.
template <class Element, class Tile, class Fetch>
FIMO_DEVICE void srht_run(const SrhtTask& task, const Fetch& fetch) {
  constexpr bool packed = Tile::kPacked;
  using Phases = typename Tile::Phases;
  using Shared = SrhtShared<Element, Tile>;
  const int thread = static_cast<int>(threadIdx.x & (Tile::kThreads - 1));
  const int group = static_cast<int>(threadIdx.x / Tile::kThreads);
  const int groups = static_cast<int>(blockDim.x) / Tile::kThreads;
  Shared* const all = &shared<Shared>();
  const unsigned rows = static_cast<unsigned>(task.rows), row = blockIdx.x % rows, part = blockIdx.x / rows;
  const Element* x = static_cast<const Element*>(task.x) + row * task.row_stride;
  const std::int64_t first = task.first_tile + task.tiles * part / task.parts;
  const int tiles = static_cast<int>(task.first_tile + task.tiles * (part + 1) / task.parts - first);

  std::uint32_t matrix[4];
  if constexpr (Tile::k16Bit) srht_matrix<Element>(matrix, thread % kWarp);
  Shared& mine = all[group];
  if (group < tiles) {
    fetch(x, first + group, mine.tile[0], thread);
    srht_signs<Tile>(task, first + group, mine.signs_in[0], task.kept.kept ? mine.columns : mine.signs_out[0], thread);
  }
  copy_async_commit();
  if (thread == 0) {
    mine.x = x;
    mine.first = first;
  }
  if (task.kept.kept) {
    srht_barrier<Tile::kThreads>();
    if (group < tiles) srht_spread<Tile>(task, mine.columns, mine.signs_out[0], thread);
  }
  float sums[kSrhtRegs];
#pragma unroll
  for (int r = 0; r < kSrhtRegs; ++r) sums[r] = 0.0f;
  // Groups that share barriers take as many steps as the first one.
  const int end = tiles + (Tile::kThreads == kWarp ? 0 : group);
  int now = 0;
#pragma unroll 1
  for (int tile = group; tile < end; tile += groups, now ^= 1) {
    const int next = tile + groups;
    const int thread = static_cast<int>(fresh_thread() & (Tile::kThreads - 1));
    Shared& mine = all[fresh_thread() / Tile::kThreads];
    copy_async_wait<0>();
    srht_barrier<Tile::kThreads>();  // this tile and its signs are there, and nobody reads the last one's
    if (next < tiles) {
      const std::int64_t index = mine.first + next;
      fetch(mine.x, index, mine.tile[now ^ 1], thread);
      srht_signs<Tile>(task, index, mine.signs_in[now ^ 1], task.kept.kept ? mine.columns : mine.signs_out[now ^ 1], thread);
    }
    copy_async_commit();
    float v[kSrhtRegs];
    float* const exchange = srht_exchange(mine, now);
    if (tile >= tiles) {
      // This group has nothing left to do.
    } else if constexpr (Tile::k16Bit) {
      srht_product<Phases>(v, mine.tile[now], mine.signs_in[now], Phases::Load::base(thread), matrix);
      srht_stages<typename Phases::Product, packed>(v, task.log2_block);
      srht_write<Phases, typename Phases::Product>(exchange + srht_slot<Phases>(Phases::Product::base(thread)), v);
    } else {
      const int at_load = Phases::Load::base(thread);
      srht_load<Phases>(v, exchange, mine.signs_in[now], at_load);
      srht_stages<typename Phases::Load, packed>(v, task.log2_block);
      srht_write<Phases, typename Phases::Load>(exchange + srht_slot<Phases>(at_load), v);
      if constexpr (Phases::kThree) {
        using Middle = typename Phases::Middle;
        srht_barrier<Tile::kThreads>();
        float* at = exchange + srht_slot<Phases>(Middle::base(thread));
        srht_read<Phases, Middle>(v, at);
        srht_stages<Middle, packed>(v, task.log2_block);
        srht_write<Phases, Middle>(at, v);
      }
    }
    srht_barrier<Tile::kThreads>();
    if (task.kept.kept && next < tiles) srht_spread<Tile>(task, mine.columns, mine.signs_out[now ^ 1], thread);
    if (tile < tiles) {
      const int at_last = Phases::Last::base(static_cast<int>(fresh_thread() & (Tile::kThreads - 1)));
      srht_read<Phases, typename Phases::Last>(v, exchange + srht_slot<Phases>(at_last));
      srht_stages<typename Phases::Last, packed>(v, task.log2_block);
      srht_add<Phases>(sums, v, mine.signs_out[now], at_last, task.scale);
    }
  }

  // Sums of the groups, and of the blocks that shared a tile. A thread writes where it alone has read.
  srht_write<Phases, typename Phases::Last>(srht_exchange(mine, 0) + srht_slot<Phases>(Phases::Last::base(thread)), sums);
  __syncthreads();
  const int size = 1 << task.log2_block;
  float* out = task.out + static_cast<std::int64_t>(blockIdx.x) * task.out_stride;
  for (int r = static_cast<int>(threadIdx.x); r < size; r += static_cast<int>(blockDim.x)) {
    int column = r;
    if (task.kept.kept) {
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

template <class Element, int kBits, bool packed>
__global__ void __launch_bounds__((SrhtTile<Element, kBits, packed>::kBlockThreads),
                                  (SrhtTile<Element, kBits, packed>::kBlocksPerSm)) srht_kernel(const SrhtTask task) {
  using Tile = SrhtTile<Element, kBits, packed>;
  srht_run<Element, Tile>(
      task, [&](const Element* x, std::int64_t tile, Element* to, int thread) { srht_fetch<Tile>(task, x, tile, to, thread); });
}

}  // namespace fimo::cuda

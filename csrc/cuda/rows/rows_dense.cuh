// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rademacher and Gaussian sketches of gradients of embeddings: entries are made once for each row that a group's tokens have
/// looked up, and used for all of its tokens.
///
/// Floor: U d k entries, U being the different rows of a group, and T d k additions or multiply-adds. Rademacher: an entry
/// costs half an instruction (a Philox block for 128), its use 3.4 (shift, flip, add; loads of 16 bytes for four): 8192 tokens
/// of 1024 numbers and k = 2048 take 2.5 ms of an H100's issue slots. Gaussian: an entry 42, its use 2.5, so 32 10^3 tokens of
/// 5 10^3 different rows take 21 ms, where making entries anew for every token would take 100. The tensor cores of
/// dense_normal.cuh would speed up the uses only.
///
/// A warp owns 128 outputs, as Philox hands them out, and a part of the tokens. Its sums of every example lie in shared memory,
/// where only their own lane touches them, so no thread waits for another warp. Four warps of a block have neighbouring outputs
/// and read the same delta.
#pragma once

#include "cuda/rows/rows.cuh"

namespace fimo::cuda {

constexpr int kRowsWarps = 4;

/// Lane l has the outputs l, l + 32, l + 64, l + 96 of the warp's 128.
struct RowsSigns {
  static constexpr int kSums = 4;      // of a lane
  static constexpr int kStep = kWarp;  // coordinates
  struct Shared {
    uint4 signs[kStep];
    float x[kStep];
  };
  Shared& s;
  int lane;

  FIMO_DEVICE RowsSigns(Shared& s, int lane) : s(s), lane(lane) {}
  FIMO_DEVICE void make(std::uint64_t first, std::uint32_t tile, std::uint64_t seed) {
    __syncwarp();  // the step before has been added
    const PhiloxBlock bits = rademacher_signs(first + lane, tile, seed);
    s.signs[lane] = make_uint4(bits.word[0], bits.word[1], bits.word[2], bits.word[3]);
  }
  template <class Element>
  FIMO_DEVICE void add(const Element* x, std::int64_t left, float (&sums)[kSums]) {
    __syncwarp();  // the token before has been added
    s.x[lane] = lane < left ? to_float(x[lane]) : 0.0f;
    __syncwarp();
#pragma unroll
    for (int j = 0; j < kStep; ++j) {
      const uint4 signs = s.signs[j];
      sums[0] += flip(s.x[j], signs.x << (31 - lane));
      sums[1] += flip(s.x[j], signs.y << (31 - lane));
      sums[2] += flip(s.x[j], signs.z << (31 - lane));
      sums[3] += flip(s.x[j], signs.w << (31 - lane));
    }
  }
  FIMO_DEVICE float total(float sum) const { return sum; }
  /// The output, of 128, of a sum; negative: another lane has it.
  FIMO_DEVICE int output(int sum) const { return kWarp * sum + lane; }
};

/// Lanes l and l + 16 share the outputs l, l + 16, ..., l + 112; one has the even coordinates, the other the odd ones.
struct RowsNormals {
  static constexpr int kSums = 8;
  static constexpr int kEach = 4;  // coordinates of a lane
  static constexpr int kStep = 2 * kEach;
  struct Shared {};
  int lane;
  float entries[kEach][kSums];

  FIMO_DEVICE RowsNormals(Shared&, int lane) : lane(lane) {}
  FIMO_DEVICE void make(std::uint64_t first, std::uint32_t tile, std::uint64_t seed) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const PhiloxBlock bits = philox(first + 2 * j + lane / 16, 16 * tile + lane % 16, kStreamGaussian, seed);
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const NormalPair pair = normal_pair(bits.word[w]);
        entries[j][2 * w] = pair.first;
        entries[j][2 * w + 1] = pair.second;
      }
    }
  }
  template <class Element>
  FIMO_DEVICE void add(const Element* x, std::int64_t left, float (&sums)[kSums]) {
    float value[kEach];
#pragma unroll
    for (int j = 0; j < kEach; ++j) value[j] = 2 * j + lane / 16 < left ? to_float(x[2 * j + lane / 16]) : 0.0f;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
#pragma unroll
      for (int i = 0; i < kSums; ++i) sums[i] = fmaf(value[j], entries[j][i], sums[i]);
    }
  }
  FIMO_DEVICE float total(float sum) const { return sum + __shfl_xor_sync(kAllLanes, sum, 16); }
  FIMO_DEVICE int output(int sum) const { return lane < 16 ? 16 * sum + lane : -1; }
};

struct RowsDense {
  std::int64_t sketch_dim;
  std::uint64_t seed;
  float scale;
  std::int64_t tiles;  // blocks for all outputs
  RowsOut out;
};

template <class Entries>
struct RowsDenseShared {
  struct Warp {
    float sums[kRowsExamples][Entries::kSums][kWarp];
    typename Entries::Shared entries;
  };
  Warp warps[kRowsWarps];
};

/// blockIdx.x = (group * parts + part) * tiles + four tiles of outputs.
template <class Element, class Entries>
__global__ void __launch_bounds__(kRowsWarps* kWarp, 3) rows_dense_kernel(Rows rows, RowsDense task) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  auto& s = shared<RowsDenseShared<Entries>>().warps[warp];
  const std::int64_t tile = blockIdx.x % task.tiles * kRowsWarps + warp;
  const std::int64_t part = blockIdx.x / task.tiles % task.out.parts, group = blockIdx.x / task.tiles / task.out.parts;
  if (tile * 128 >= task.sketch_dim) return;
  const RowsList<Element> list(rows, group);
  const std::int64_t first = list.count * part / task.out.parts, last = list.count * (part + 1) / task.out.parts;
  const int examples = static_cast<int>(min(rows.examples, rows.batch - list.first_example));
  for (int e = 0; e < examples; ++e) {
#pragma unroll
    for (int i = 0; i < Entries::kSums; ++i) s.sums[e][i][lane] = 0.0f;
  }
  Entries entries(s.entries, lane);
  for (std::int64_t i = first, end; i < last; i = end) {
    end = i + 1;
    while (end < last && list.row[end] == list.row[i]) ++end;
    for (std::int64_t j = 0; j < rows.dim; j += Entries::kStep) {
      entries.make(static_cast<std::uint64_t>(list.coordinate(i) + j), static_cast<std::uint32_t>(tile), task.seed);
      for (std::int64_t t = i; t < end; ++t) {
        float sums[Entries::kSums] = {};
        entries.add(list.delta(t) + j, rows.dim - j, sums);
        const int e = list.example[t];
#pragma unroll
        for (int i = 0; i < Entries::kSums; ++i) s.sums[e][i][lane] += sums[i];
      }
    }
  }
  for (int e = 0; e < examples; ++e) {
#pragma unroll
    for (int i = 0; i < Entries::kSums; ++i) {
      const float sum = entries.total(s.sums[e][i][lane]) * task.scale;
      const int c = entries.output(i);
      if (c >= 0 && tile * 128 + c < task.sketch_dim) task.out.put(part, list.first_example + e, tile * 128 + c, sum);
    }
  }
}

}  // namespace fimo::cuda

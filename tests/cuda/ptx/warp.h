// SPDX-License-Identifier: Apache-2.0
// What the lanes of a warp do together, after the PTX ISA: shuffles with its bounds, ldmatrix, products of matrices.
#pragma once

#include "emulator/emulator.h"
#include "ptx/convert.h"
#include "ptx/memory.h"

namespace ptx {

inline std::uint32_t own_lane() { return 1u << emulator::current->lane; }
inline std::uint32_t lanes_below() { return own_lane() - 1; }

// --- shfl.sync: `bounds` holds the last lane of a segment (bits 0 to 4) and the bits that tell segments apart (8 to 12) ------

struct Segment {
  explicit Segment(std::uint32_t bounds) : fixed(bounds >> 8 & 31), first(emulator::current->lane & fixed) {
    last = first | (bounds & 31 & ~fixed);
  }
  unsigned fixed, first, last;
};

inline std::uint32_t shuffled(std::uint32_t mask, std::uint32_t value, int source, bool inside, const char* name) {
  return emulator::shfl(mask, value, inside ? source : static_cast<int>(emulator::current->lane), name);
}
inline std::uint32_t shuffled_up(std::uint32_t mask, std::uint32_t value, std::uint32_t by, std::uint32_t bounds,
                                 bool& inside) {
  const int source = static_cast<int>(emulator::current->lane) - static_cast<int>(by & 31);
  inside = source >= static_cast<int>(Segment(bounds).last);
  return shuffled(mask, value, source, inside, "shfl.sync.up");
}
inline std::uint32_t shuffled_down(std::uint32_t mask, std::uint32_t value, std::uint32_t by, std::uint32_t bounds,
                                   bool& inside) {
  const int source = static_cast<int>(emulator::current->lane + (by & 31));
  inside = source <= static_cast<int>(Segment(bounds).last);
  return shuffled(mask, value, source, inside, "shfl.sync.down");
}
inline std::uint32_t shuffled_bfly(std::uint32_t mask, std::uint32_t value, std::uint32_t by, std::uint32_t bounds,
                                   bool& inside) {
  const int source = static_cast<int>(emulator::current->lane ^ (by & 31));
  inside = source <= static_cast<int>(Segment(bounds).last);
  return shuffled(mask, value, source, inside, "shfl.sync.bfly");
}
inline std::uint32_t shuffled_idx(std::uint32_t mask, std::uint32_t value, std::uint32_t index, std::uint32_t bounds,
                                  bool& inside) {
  const Segment segment(bounds);
  const int source = static_cast<int>(segment.first | (index & 31 & ~segment.fixed));
  inside = source <= static_cast<int>(segment.last);
  return shuffled(mask, value, source, inside, "shfl.sync.idx");
}

// --- ldmatrix: matrices of 8 x 8 elements of 16 bits; lane 8 m + r gives the address of row r of matrix m --------------------

template <bool kTransposed, int kCount>
void load_matrices(std::uint32_t (&rows)[kCount], std::uint64_t address) {
  struct Row {
    std::uint16_t elements[8];
  };
  struct Arguments {
    Row row;
    std::uint32_t* result;
  } arguments{{}, rows};
  if (emulator::current->lane < 8 * kCount) arguments.row = *in_shared<const Row>(address);
  emulator::warp_collective(0xFFFFFFFFu, "ldmatrix", &arguments, [](void* const lanes[32], unsigned live) {
    if (live != 0xFFFFFFFFu) emulator::fail("ldmatrix with lanes that have exited");
    const auto lane = [&](int i) { return static_cast<Arguments*>(lanes[i]); };
    for (int i = 0; i < 32; ++i) {
      for (int m = 0; m < kCount; ++m) {
        const auto element = [&](int row, int column) -> std::uint32_t { return lane(8 * m + row)->row.elements[column]; };
        const int a = i / 4, b = 2 * (i % 4);
        lane(i)->result[m] = kTransposed ? element(b, a) | element(b + 1, a) << 16 : element(a, b) | element(a, b + 1) << 16;
      }
    }
  });
}

// --- mma.m16n8kK: sums += a b
// --------------------------------------------------------------------------------------------------

struct Bfloat16 {
  static constexpr int kInRegister = 2;
  static double get(std::uint32_t word, int i) { return bfloat16_value(static_cast<std::uint16_t>(word >> (16 * i))); }
};
struct Half {
  static constexpr int kInRegister = 2;
  static double get(std::uint32_t word, int i) { return half_value(static_cast<std::uint16_t>(word >> (16 * i))); }
};
struct Tf32 {
  static constexpr int kInRegister = 1;
  static double get(std::uint32_t word, int) { return bits<float>(word & 0xFFFFE000u); }
};
struct Int8 {
  static constexpr int kInRegister = 4;
  static std::int64_t get(std::uint32_t word, int i) { return static_cast<std::int8_t>(word >> (8 * i)); }
};
struct Uint8 {
  static constexpr int kInRegister = 4;
  static std::int64_t get(std::uint32_t word, int i) { return static_cast<std::uint8_t>(word >> (8 * i)); }
};

/// Element (row, k) of A is element k % w of a register of lane 4 (row % 8) + k / w % 4: number row / 8 + 2 (k / 4w).
/// Element (k, column) of B is element k % w of register k / 4w of lane 4 column + k / w % 4.
/// Products are exact and are added up in double, or 64 bits; a GPU's tensor cores round sums in ways of their own.
template <class Element, class Sum, int kOfA, int kOfB>
void product(Sum (&sums)[4], const std::uint32_t (&a)[kOfA], const std::uint32_t (&b)[kOfB]) {
  struct Arguments {
    Sum* sums;
    const std::uint32_t *a, *b;
  } arguments{sums, a, b};
  emulator::warp_collective(0xFFFFFFFFu, "mma", &arguments, [](void* const lanes[32], unsigned live) {
    if (live != 0xFFFFFFFFu) emulator::fail("mma with lanes that have exited");
    constexpr int w = Element::kInRegister, depth = 4 * w * kOfB;
    using Exact = decltype(Element::get(0, 0));
    Exact of_a[16][depth], of_b[8][depth];
    const auto lane = [&](int i) { return static_cast<Arguments*>(lanes[i]); };
    for (int k = 0; k < depth; ++k) {
      const int within = k / w % 4, block = k / (4 * w);
      for (int row = 0; row < 16; ++row) {
        of_a[row][k] = Element::get(lane(4 * (row % 8) + within)->a[row / 8 + 2 * block], k % w);
      }
      for (int column = 0; column < 8; ++column) of_b[column][k] = Element::get(lane(4 * column + within)->b[block], k % w);
    }
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 8; ++column) {
        Sum& to = lane(4 * (row % 8) + column / 2)->sums[2 * (row / 8) + column % 2];
        Exact sum = to;
        for (int k = 0; k < depth; ++k) sum += of_a[row][k] * of_b[column][k];
        to = static_cast<Sum>(sum);
      }
    }
  });
}

}  // namespace ptx

// SPDX-License-Identifier: Apache-2.0
/// \file
/// Where the elements of an SRHT's tile are, phase by phase, and the parts of a phase.
///
/// A tile is 2^11 to 2^14 coordinates, 64 for each thread. In a phase every bit of an element's index is a bit of its
/// register's number, of the lane or of the warp; stages are free for bits of registers. Between phases the tile goes through
/// shared memory, where elements lie in order with gaps, so that neither side of an exchange meets in banks.
#pragma once

#include "cuda/device/hadamard.cuh"
#include "cuda/device/instructions.cuh"
#include "fimo_fast/random.h"

namespace fimo::cuda {

constexpr int kSrhtRegs = 64;

/// The number whose bit `list`'s digit b, in base 16, is bit b of value, for values of up to 6 bits. Without a loop, so that it
/// becomes a constant in unrolled code.
FIMO_DEVICE constexpr int deposit(std::uint64_t list, int value) {
  return (value & 1) << (list & 15) | (value >> 1 & 1) << (list >> 4 & 15) | (value >> 2 & 1) << (list >> 8 & 15) |
         (value >> 3 & 1) << (list >> 12 & 15) | (value >> 4 & 1) << (list >> 16 & 15) | (value >> 5 & 1) << (list >> 20 & 15);
}

/// One phase: the index bits of registers (6, increasing), lanes (5) and warps (up to 3), each a digit in base 16, first bit in
/// the last digit; and the set of index bits whose stages happen in it.
template <std::uint64_t kRegister, std::uint64_t kLane, std::uint64_t kWarpBits, unsigned kStages>
struct SrhtPhase {
  static constexpr std::uint64_t kRegisterBits = kRegister;
  static constexpr unsigned kStageBits = kStages;
  /// Elements that lie side by side in registers as in memory.
  static constexpr int kVector = (kRegister & 0xFF) == 0x10 ? 4 : (kRegister & 0xF) == 0 ? 2 : 1;
  /// Bits of registers that are bits of a word of signs.
  static constexpr int kWordBits = int{(kRegister & 15) < 5} + int{(kRegister >> 4 & 15) < 5} + int{(kRegister >> 8 & 15) < 5} +
                                   int{(kRegister >> 12 & 15) < 5};

  static FIMO_DEVICE constexpr int offset(int reg) { return deposit(kRegister, reg); }
  static FIMO_DEVICE int base(int thread) { return deposit(kLane, thread & 31) | deposit(kWarpBits, thread >> 5); }
};

/// The phases of tiles of 2^Bits elements: of float32 the additions happen in registers; of types with 16 bits the first phase
/// begins with four stages in tensor cores, which take over some lanes' bits, so that one exchange is enough for any tile.
template <bool k16Bit, int kBits>
struct SrhtPhases;

template <>
struct SrhtPhases<false, 11> {
  using Load = SrhtPhase<0xA98710, 0x65432, 0xFFF, 0x783>;
  using Last = SrhtPhase<0x654320, 0xA9871, 0xFFF, 0x07C>;
  static constexpr bool kThree = false;
  using Middle = Last;
  static constexpr int kGap = 4, kGapShift = 7;
};
template <>
struct SrhtPhases<false, 12> {
  using Load = SrhtPhase<0xBA9810, 0x65432, 0xFF7, 0xF03>;
  using Last = SrhtPhase<0x765432, 0xA9810, 0xFFB, 0x0FC>;
  static constexpr bool kThree = false;
  using Middle = Last;
  static constexpr int kGap = 4, kGapShift = 8;
};
template <>
struct SrhtPhases<false, 13> {
  using Load = SrhtPhase<0xCBA910, 0x65432, 0xF87, 0x1E03>;
  using Middle = SrhtPhase<0x765432, 0xA9810, 0xFCB, 0x0FC>;
  using Last = SrhtPhase<0xBA9810, 0x65432, 0xFC7, 0x100>;
  static constexpr bool kThree = true;
  static constexpr int kGap = 4, kGapShift = 8;
};
template <>
struct SrhtPhases<false, 14> {
  using Load = SrhtPhase<0xDCBA10, 0x65432, 0x987, 0x3C03>;
  using Middle = SrhtPhase<0x765432, 0xA9810, 0xDCB, 0x0FC>;
  using Last = SrhtPhase<0xBA9810, 0x65432, 0xDC7, 0x300>;
  static constexpr bool kThree = true;
  static constexpr int kGap = 4, kGapShift = 8;
};

// Load: eight elements of 16 bits side by side. Product: after the tensor cores, which do bits 0, 2, 3 and 4.
template <>
struct SrhtPhases<true, 11> {
  using Load = SrhtPhase<0xA98210, 0x76543, 0xFFF, 0x01D>;
  using Product = SrhtPhase<0xA98510, 0x43276, 0xFFF, 0x722>;
  using Last = SrhtPhase<0x876510, 0xA9432, 0xFFF, 0x0C0>;
  static constexpr int kGap = 8, kGapShift = 6;
};
template <>
struct SrhtPhases<true, 12> {
  using Load = SrhtPhase<0xBA9210, 0x76543, 0xFF8, 0x01D>;
  using Product = SrhtPhase<0xBA9510, 0x43276, 0xFF8, 0xE22>;
  using Last = SrhtPhase<0x876510, 0xA9432, 0xFFB, 0x1C0>;
  static constexpr int kGap = 8, kGapShift = 6;
};
template <>
struct SrhtPhases<true, 13> {
  using Load = SrhtPhase<0xCBA210, 0x76543, 0xF98, 0x01D>;
  using Product = SrhtPhase<0xCBA510, 0x43276, 0xF98, 0x1C22>;
  using Last = SrhtPhase<0x987610, 0xA5432, 0xFCB, 0x3C0>;
  static constexpr int kGap = 8, kGapShift = 6;
};
template <>
struct SrhtPhases<true, 14> {
  using Load = SrhtPhase<0xDCB210, 0x76543, 0xA98, 0x01D>;
  using Product = SrhtPhase<0xDCB510, 0x43276, 0xA98, 0x3822>;
  using Last = SrhtPhase<0xA98760, 0x54321, 0xDCB, 0x7C0>;
  static constexpr int kGap = 8, kGapShift = 6;
};

/// Where element i lies in shared memory. Of two numbers without a common bit, the slot of the sum is the sum of the slots.
template <class Phases>
FIMO_DEVICE constexpr int srht_slot(int i) {
  return i + Phases::kGap * (i >> Phases::kGapShift);
}

template <class Phases, class Phase>
FIMO_DEVICE void srht_read(float (&v)[kSrhtRegs], const float* x) {
#pragma unroll
  for (int r = 0; r < kSrhtRegs; r += Phase::kVector) {
    const float* from = x + srht_slot<Phases>(Phase::offset(r));
    if constexpr (Phase::kVector == 4) {
      const float4 four = *reinterpret_cast<const float4*>(from);
      v[r] = four.x, v[r + 1] = four.y, v[r + 2] = four.z, v[r + 3] = four.w;
    } else if constexpr (Phase::kVector == 2) {
      const float2 two = *reinterpret_cast<const float2*>(from);
      v[r] = two.x, v[r + 1] = two.y;
    } else {
      v[r] = *from;
    }
  }
}

template <class Phases, class Phase>
FIMO_DEVICE void srht_write(float* x, const float (&v)[kSrhtRegs]) {
#pragma unroll
  for (int r = 0; r < kSrhtRegs; r += Phase::kVector) {
    float* to = x + srht_slot<Phases>(Phase::offset(r));
    if constexpr (Phase::kVector == 4) {
      *reinterpret_cast<float4*>(to) = make_float4(v[r], v[r + 1], v[r + 2], v[r + 3]);
    } else if constexpr (Phase::kVector == 2) {
      *reinterpret_cast<float2*>(to) = make_float2(v[r], v[r + 1]);
    } else {
      *to = v[r];
    }
  }
}

/// The stages of a phase. Only the smallest tiles hold more than one block: there, bits from log2_block on have none.
template <class Phase, bool kPacked, int kReg = 0>
FIMO_DEVICE void srht_stages(float (&v)[kSrhtRegs], int log2_block) {
  if constexpr (kReg < 6) {
    constexpr int kBit = static_cast<int>(Phase::kRegisterBits >> 4 * kReg & 15);
    if constexpr ((Phase::kStageBits >> kBit & 1) != 0) {
      if (!kPacked || kBit < log2_block) hadamard_stage<1 << kReg>(v);
    }
    srht_stages<Phase, kPacked, kReg + 1>(v, log2_block);
  }
}

/// v with the sign that bit `bit` of word says.
FIMO_DEVICE float flip_sign(float v, std::uint32_t word, int bit) {
  return __uint_as_float(__float_as_uint(v) ^ ((word << (31 - bit)) & 0x80000000u));
}

/// v = ± the tile's float32; `signs` by element.
template <class Phases>
FIMO_DEVICE void srht_load(float (&v)[kSrhtRegs], const float* x, const std::uint32_t* signs, int base) {
  using Phase = typename Phases::Load;
  srht_read<Phases, Phase>(v, x + srht_slot<Phases>(base));
#pragma unroll
  for (int r = 0; r < kSrhtRegs; r += 4) {
    const std::uint32_t word = signs[(base >> 5) + (Phase::offset(r) >> 5)] >> (base & 31);
#pragma unroll
    for (int i = 0; i < 4; ++i) v[r + i] = flip_sign(v[r + i], word, i);
  }
}

template <class Element>
struct SrhtMma {};
template <>
struct SrhtMma<__nv_bfloat16> {
  static constexpr std::uint32_t kOne = 0x3F80;
  static FIMO_DEVICE void run(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) { mma_bf16(d, a, b); }
};
template <>
struct SrhtMma<__half> {
  static constexpr std::uint32_t kOne = 0x3C00;
  static FIMO_DEVICE void run(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) { mma_half(d, a, b); }
};

/// The fragments of the 16 x 16 Hadamard matrix for srht_product. Column k of it stands for index bits 0, 3, 4, 2 (k's bits,
/// the lowest first), row m for 2, 3, 4, 0.
template <class Element>
FIMO_DEVICE void srht_matrix(std::uint32_t (&a)[4], int lane) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int m = lane / 4 + 8 * (i % 2);
    const int row = (m >> 3 & 1) | (m >> 1 & 1) << 1 | (m >> 2 & 1) << 2 | (m & 1) << 3;
    const int column = i / 2 * 8 + lane % 4 * 2;
    a[i] = SrhtMma<Element>::kOne * 0x10001u ^ (__popc(row & column) & 1) * 0x8000u ^
           (__popc(row & (column + 1)) & 1) * 0x80000000u;
  }
}

/// v = the first four stages of ± the tile, in the places of Phases::Product. Products with ±1 are exact, sums float32.
template <class Phases, class Element>
FIMO_DEVICE void srht_product(float (&v)[kSrhtRegs], const Element* x, const std::uint32_t* signs, int base,
                              const std::uint32_t (&a)[4]) {
  using Phase = typename Phases::Load;
#pragma unroll
  for (int r = 0; r < kSrhtRegs; r += 8) {
    const uint4 loaded = *reinterpret_cast<const uint4*>(x + base + Phase::offset(r));
    const std::uint32_t byte = reinterpret_cast<const unsigned char*>(signs)[(base >> 3) + (Phase::offset(r) >> 3)];
    // Two neighbours share a register, so their signs, bits 2 i and 2 i + 1, have to be 16 bits apart.
    const std::uint32_t pairs = byte * 0x8001u;
    std::uint32_t b[4] = {loaded.x, loaded.y, loaded.z, loaded.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) b[i] ^= (pairs << (15 - 2 * i)) & 0x80008000u;
#pragma unroll
    for (int i = 0; i < 2; ++i) {  // index bit 1
      float d[4] = {0.0f, 0.0f, 0.0f, 0.0f};
      SrhtMma<Element>::run(d, a, {b[i], b[i + 2]});
      v[r + 2 * i] = d[0];  // d's second bit is index bit 0, its first one index bit 5
      v[r + 2 * i + 1] = d[2];
      v[r + 2 * i + 4] = d[1];
      v[r + 2 * i + 5] = d[3];
    }
  }
}

/// sums += ± scale v; `signs` by element.
template <class Phases>
FIMO_DEVICE void srht_add(float (&sums)[kSrhtRegs], const float (&v)[kSrhtRegs], const std::uint32_t* signs, int base,
                          float scale) {
  using Phase = typename Phases::Last;
  constexpr int kRun = 1 << Phase::kWordBits;
#pragma unroll
  for (int r = 0; r < kSrhtRegs; r += kRun) {
    const std::uint32_t word = signs[(base >> 5) + (Phase::offset(r) >> 5)] >> (base & 31);
#pragma unroll
    for (int i = 0; i < kRun; ++i) sums[r + i] += flip_sign(v[r + i], word, Phase::offset(i)) * scale;
  }
}

}  // namespace fimo::cuda

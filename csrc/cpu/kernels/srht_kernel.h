// SPDX-License-Identifier: Apache-2.0
/// \file
/// SRHT, block form: for each block of L coordinates, sums[b, i] += ±WHT(±x[b, block] * scale)[i].
///
/// The transform is the in-place one with strides 1, 2, 4, ..., L/2. Its bits are those of that tree of additions, however the
/// stages are fused: the first six or so happen in registers while the block is loaded, scaled and signed, later ones three at
/// a time (radix 8), and the last ones while the result is signed and added to the sums.
///
/// A row is read in runs of several blocks, the signs of which are generated once for all rows. A sketch that keeps only some
/// rows of the transform adds all of them up and selects at the end: gathering for every block costs more.
///
/// Cost on AVX2, for 8 elements of float32 at L = 2048: 32 bytes from memory; 30 instructions, of which 11 are the additions
/// that the definition asks for, 3 shuffles, 3 loads and 3 stores for three passes, 8 for the two signs and the scale. The
/// first pass is bound by the two units that share shuffles and multiplications, the others by additions, loads and stores.
#pragma once

#include <cstdint>

#include "cpu/kernels/philox_kernel.h"
#include "cpu/kernels/sketch_input.h"

namespace fimo {

/// How consecutive sign bits spread to the kept rows of a transform, 32 rows a word. Bit number r of a word's bits belongs to
/// its row p >= r. It gets there by moves of 16, 8, 4, 2 and 1, those that add up to p - r; moved[w, digit] has the places
/// where moves of 2^digit end.
struct SrhtSpread {
  const std::int32_t* first;   // [ceil(L / 32)] the column of each word's first kept row
  const std::uint32_t* moved;  // [ceil(L / 32), 5]
};

/// Adds an SRHT.
struct SrhtTask {
  SketchInput in;
  void* out;
  std::int64_t out_row_stride;
  std::int64_t block;            // L, a power of two
  std::int64_t sketch_dim;       // <= L
  const std::int32_t* rows;      // [sketch_dim] increasing rows of the transform, null where sketch_dim == L
  SrhtSpread spread;             // of `rows`, where they are given
  std::int64_t run;              // blocks of a row handled together; sizes the signs
  void* buffer;                  // [L]
  void* sums;                    // [rows, L] where `rows` is given
  std::uint32_t* signs_in;       // [4 * (run * L / 128 + 2)]
  std::uint32_t* signs_out;      // [run, 4 * ceil(L / 128)]
  std::uint32_t* signs_columns;  // [run * 4 * ceil(sketch_dim / 128) + 1] where `rows` is given
};

}  // namespace fimo

#if defined(FIMO_ISA)
namespace fimo::FIMO_ISA {
namespace {

/// Stages up to this many elements run part by part, so that a long block stays in the first-level cache.
constexpr std::int64_t kSrhtPart = 4096;

/// Registers of the first pass, which covers at least the 32 signs of a word.
template <class T>
constexpr int kFirstRegs = 8 * Simd<T>::kLanes < 32 ? 16 : 8;

/// The stages of strides H, 2 H, ... inside each register. All registers go through a stage before the next one: one register
/// after the other, the chain of dependent operations would fill the processor's window.
template <class T, int R, int H = 1>
FIMO_FORCE_INLINE void lane_stages(typename Simd<T>::Reg (&r)[R]) {
  if constexpr (H < Simd<T>::kLanes) {
    FIMO_UNROLL
    for (int q = 0; q < R; ++q) r[q] = Simd<T>::template butterfly<H>(r[q]);
    lane_stages<T, R, 2 * H>(r);
  }
}

/// The stages of strides H, 2 H, ..., R / 2, counted in registers.
template <class T, int R, int H = 1>
FIMO_FORCE_INLINE void register_stages(typename Simd<T>::Reg (&r)[R]) {
  using S = Simd<T>;
  if constexpr (H < R) {
    FIMO_UNROLL
    for (int i = 0; i < R; ++i) {
      if (i & H) continue;
      const typename S::Reg a = r[i], b = r[i + H];
      r[i] = S::add(a, b);
      r[i + H] = S::sub(a, b);
    }
    register_stages<T, R, 2 * H>(r);
  }
}

/// buffer = the stages below R * lanes of (signs * source * factor), over `size` elements. Source may be the buffer itself.
/// Meanwhile `next`, what will be read after this block, comes from memory: the later passes would leave the memory idle.
template <int R, class T, class Element>
void first_pass(T* buffer, const Element* source, T factor, std::int64_t size, const std::uint32_t* signs,
                const Element* next) {
  using S = Simd<T>;
  constexpr int kStep = R * S::kLanes;
  const typename S::Reg plus = S::set(factor), minus = S::set(-factor);
  static_assert(kStep % 32 == 0, "a step must start at a word of signs");
  for (std::int64_t i = 0; i < size; i += kStep) {
    FIMO_UNROLL
    for (int line = 0; line < kStep; line += 64 / static_cast<int>(sizeof(Element))) prefetch(next + i + line);
    typename S::Reg r[R];
    FIMO_UNROLL
    for (int q = 0; q < R; ++q) {
      const int at = q * S::kLanes;
      const typename S::Reg factors = S::choose(signs[i / 32 + at / 32], at % 32, plus, minus);
      r[q] = S::mul(S::load(source + i + at), factors);
    }
    lane_stages<T, R>(r);
    register_stages<T, R>(r);
    FIMO_UNROLL
    for (int q = 0; q < R; ++q) S::store(buffer + i + q * S::kLanes, r[q]);
  }
}

/// The stages of strides h, 2 h, ..., R h / 2 over buffer[0:size].
template <int R, class T>
void middle_pass(T* buffer, std::int64_t size, std::int64_t h) {
  using S = Simd<T>;
  for (std::int64_t base = 0; base < size; base += R * h) {
    for (std::int64_t i = base; i < base + h; i += S::kLanes) {
      typename S::Reg r[R];
      FIMO_UNROLL
      for (int q = 0; q < R; ++q) r[q] = S::load(buffer + i + q * h);
      register_stages<T, R>(r);
      FIMO_UNROLL
      for (int q = 0; q < R; ++q) S::store(buffer + i + q * h, r[q]);
    }
  }
}

/// sums += signs * the stages of strides h, 2 h, ..., R h / 2 of buffer[0 : R h]. h is a multiple of 32.
template <int R, class T>
void last_pass(T* sums, const T* buffer, std::int64_t h, const std::uint32_t* signs) {
  using S = Simd<T>;
  const typename S::Reg plus = S::set(T(1)), minus = S::set(T(-1));
  for (std::int64_t word = 0; word < h / 32; ++word) {
    FIMO_UNROLL
    for (int first = 0; first < 32; first += S::kLanes) {
      const std::int64_t i = 32 * word + first;
      typename S::Reg r[R];
      FIMO_UNROLL
      for (int q = 0; q < R; ++q) r[q] = S::load(buffer + i + q * h);
      register_stages<T, R>(r);
      FIMO_UNROLL
      for (int q = 0; q < R; ++q) {
        T* sum = sums + i + q * h;
        S::store(sum, S::fma(r[q], S::choose(signs[word + q * (h / 32)], first, plus, minus), S::load(sum)));
      }
    }
  }
}

template <class T>
void middle_passes(T* buffer, std::int64_t size, std::int64_t h, std::int64_t end) {
  for (; 8 * h <= end; h *= 8) middle_pass<8>(buffer, size, h);
  if (4 * h <= end) {
    middle_pass<4>(buffer, size, h);
  } else if (2 * h <= end) {
    middle_pass<2>(buffer, size, h);
  }
}

/// sums += signs_out * WHT(signs_in * source * factor), all [L]; L >= 32 and >= 4 * lanes. Source may be the buffer. `next` is
/// where the next call will read.
template <class T, class Element>
void add_transform(T* sums, T* buffer, const Element* source, T factor, std::int64_t L, const std::uint32_t* signs_in,
                   const std::uint32_t* signs_out, const Element* next) {
  constexpr std::int64_t kFirst = kFirstRegs<T> * Simd<T>::kLanes;
  if (L < kFirst) {
    if constexpr (4 * Simd<T>::kLanes >= 32) {
      first_pass<4>(buffer, source, factor, L, signs_in, next);
      last_pass<1>(sums, buffer, L, signs_out);
    }
    return;
  }
  // What is left for the last pass: 0 to 3 stages.
  std::int64_t radix = L / kFirst;
  while (radix > 8) radix /= 8;
  const std::int64_t part = L / radix < kSrhtPart ? L / radix : kSrhtPart;
  for (std::int64_t i = 0; i < L; i += part) {
    first_pass<kFirstRegs<T>>(buffer + i, source + i, factor, part, signs_in + i / 32, next + i);
    middle_passes(buffer + i, part, kFirst, part);
  }
  middle_passes(buffer, L, part, L / radix);
  switch (radix) {
    case 8: return last_pass<8>(sums, buffer, L / 8, signs_out);
    case 4: return last_pass<4>(sums, buffer, L / 4, signs_out);
    case 2: return last_pass<2>(sums, buffer, L / 2, signs_out);
    default: return last_pass<1>(sums, buffer, L, signs_out);
  }
}

/// The same for shorter blocks, in place in the buffer. signs_in starts at bit `shift`: such blocks start inside a word.
template <class T>
void add_transform_short(T* sums, T* buffer, std::int64_t L, const std::uint32_t* signs_in, std::int64_t shift,
                         const std::uint32_t* signs_out) {
  for (std::int64_t i = 0; i < L; ++i) {
    const std::int64_t bit = shift + i;
    buffer[i] = flip_by_top_bit(buffer[i], signs_in[bit / 32] << (31 - bit % 32));
  }
  for (std::int64_t h = 1; h < L; h *= 2) {
    for (std::int64_t base = 0; base < L; base += 2 * h) {
      for (std::int64_t i = base; i < base + h; ++i) {
        const T a = buffer[i], b = buffer[i + h];
        buffer[i] = a + b;
        buffer[i + h] = a - b;
      }
    }
  }
  for (std::int64_t i = 0; i < L; ++i) sums[i] += flip_by_top_bit(buffer[i], signs_out[i / 32] << (31 - i % 32));
}

/// Signs of the blocks [first, first + count): signs_in by coordinate, from the multiple of 128 below the first one; signs_out
/// by row of the transform, at a distance of srht_sign_words. Rows that the sketch does not keep get any sign.
void srht_signs(const SrhtTask& task, std::int64_t first, std::int64_t count) {
  const std::int64_t L = task.block, begin = first * L / 128, end = ((first + count) * L + 127) / 128;
  philox_fill(task.signs_in, static_cast<std::uint64_t>(begin), end - begin, 0, kStreamSrhtIn, task.in.seed);
  const std::int64_t blocks = (task.sketch_dim + 127) / 128;
  std::uint32_t* columns = task.rows ? task.signs_columns : task.signs_out;
  philox_fill(columns, static_cast<std::uint64_t>(first * blocks), count * blocks, 0, kStreamSrhtOut, task.in.seed);
  if (!task.rows) return;
  const std::int64_t words = 4 * ((L + 127) / 128);
  columns[count * 4 * blocks] = 0;  // read below, but not used
  for (std::int64_t block = 0; block < count; ++block) {
    std::uint32_t* out = task.signs_out + block * words;
    const std::uint32_t* in = columns + block * 4 * blocks;
    for (std::int64_t w = 0; w < (L + 31) / 32; ++w) {
      const std::int32_t c = task.spread.first[w];
      const std::uint64_t window = in[c / 32] | static_cast<std::uint64_t>(in[c / 32 + 1]) << 32;
      std::uint32_t bits = static_cast<std::uint32_t>(window >> (c % 32));
      FIMO_UNROLL
      for (int digit = 4; digit >= 0; --digit) {
        const std::uint32_t moved = task.spread.moved[5 * w + digit];
        bits = (bits & ~moved) | ((bits << (1 << digit)) & moved);
      }
      out[w] = bits;
    }
  }
}

template <class Element>
void srht(const SrhtTask& task) {
  using T = typename Accumulator<Element>::type;
  const std::int64_t L = task.block;
  const bool wide = L >= 32 && L >= 4 * Simd<T>::kLanes;
  const std::int64_t begin = static_cast<std::int64_t>(task.in.first_coordinate), end = begin + task.in.dim;
  const std::int64_t last_block = (end + L - 1) / L;
  const std::int64_t words_out = 4 * ((L + 127) / 128);
  T* buffer = static_cast<T*>(task.buffer);
  if (task.rows) {
    for (std::int64_t row = 0; row < task.in.rows; ++row) {
      T* sums = static_cast<T*>(task.sums) + row * L;
      const T* out = static_cast<const T*>(task.out) + row * task.out_row_stride;
      for (std::int64_t i = 0; i < L; ++i) sums[i] = T(0);
      for (std::int64_t c = 0; c < task.sketch_dim; ++c) sums[task.rows[c]] = out[c];
    }
  }
  for (std::int64_t first = begin / L; first < last_block; first += task.run) {
    const std::int64_t count = last_block - first < task.run ? last_block - first : task.run;
    srht_signs(task, first, count);
    for (std::int64_t row = 0; row < task.in.rows; ++row) {
      const Element* grads = static_cast<const Element*>(task.in.grads) + row * task.in.row_stride;
      const std::int64_t run_start = first * L > begin ? first * L - begin : 0;
      const Element* next_row = grads + run_start + (row + 1 < task.in.rows ? task.in.row_stride : 0);
      T* sums = task.rows ? static_cast<T*>(task.sums) + row * L : static_cast<T*>(task.out) + row * task.out_row_stride;
      for (std::int64_t block = first; block < first + count; ++block) {
        const std::int64_t start = block * L;
        const std::int64_t low = start > begin ? start : begin;
        const std::int64_t high = start + L < end ? start + L : end;
        const std::int64_t shift = start - first * L / 128 * 128;
        const std::uint32_t* signs_out = task.signs_out + (block - first) * words_out;
        if (wide && high - low == L) {
          const Element* source = grads + (low - begin);
          const Element* next = block + 1 < first + count ? source + L : next_row;
          add_transform(sums, buffer, source, static_cast<T>(task.in.scale), L, task.signs_in + shift / 32, signs_out, next);
          continue;
        }
        for (std::int64_t i = 0; i < low - start; ++i) buffer[i] = T(0);
        load_scaled(buffer + (low - start), grads + (low - begin), high - low, task.in.scale);
        for (std::int64_t i = high - start; i < L; ++i) buffer[i] = T(0);
        if (wide) {
          add_transform(sums, buffer, buffer, T(1), L, task.signs_in + shift / 32, signs_out, buffer);
        } else {
          add_transform_short(sums, buffer, L, task.signs_in, shift, signs_out);
        }
      }
    }
  }
  if (task.rows) {
    for (std::int64_t row = 0; row < task.in.rows; ++row) {
      const T* sums = static_cast<const T*>(task.sums) + row * L;
      T* out = static_cast<T*>(task.out) + row * task.out_row_stride;
      for (std::int64_t c = 0; c < task.sketch_dim; ++c) out[c] = sums[task.rows[c]];
    }
  }
}

}  // namespace
}  // namespace fimo::FIMO_ISA
#endif

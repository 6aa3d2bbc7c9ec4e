// SPDX-License-Identifier: Apache-2.0
/// \file
/// SRHT, block form: for each block of L coordinates, out[b, c] += ±WHT(±x[b, block] * scale)[rows[c]].
///
/// The transform is the in-place one with strides 1, 2, 4, ..., L/2. Its bits are those of that tree of additions, however the
/// stages are fused: the first log2(4 * lanes) stages happen while the block is loaded, signed and scaled, the rest two at a
/// time (radix 4), and stages below 4096 elements run chunk by chunk so that long blocks stay in the first-level cache.
#pragma once

#include <cstdint>

#include "kernels.h"
#include "philox_kernel.h"

namespace fimo::FIMO_ISA {
namespace {

constexpr std::int64_t kSrhtChunk = 4096;

template <class T, int H>
FIMO_FORCE_INLINE typename Simd<T>::Reg lane_stages(typename Simd<T>::Reg x) {
  if constexpr (H < Simd<T>::kLanes) {
    return lane_stages<T, 2 * H>(Simd<T>::template butterfly<H>(x));
  } else {
    return x;
  }
}

/// The stages of strides h and 2 h on four registers.
template <class T>
FIMO_FORCE_INLINE void radix4(typename Simd<T>::Reg (&r)[4]) {
  using S = Simd<T>;
  const typename S::Reg a = S::add(r[0], r[1]), b = S::sub(r[0], r[1]);
  const typename S::Reg c = S::add(r[2], r[3]), d = S::sub(r[2], r[3]);
  r[0] = S::add(a, c);
  r[1] = S::add(b, d);
  r[2] = S::sub(a, c);
  r[3] = S::sub(b, d);
}

/// Stages of strides h, 2 h, ... below `end` over buffer[0:size]; h >= lanes, size a multiple of end.
template <class T>
void wide_stages(T* buffer, std::int64_t size, std::int64_t h, std::int64_t end) {
  using S = Simd<T>;
  for (; 2 * h < end; h *= 4) {
    for (std::int64_t base = 0; base < size; base += 4 * h) {
      for (std::int64_t i = base; i < base + h; i += S::kLanes) {
        typename S::Reg r[4] = {S::load(buffer + i), S::load(buffer + i + h), S::load(buffer + i + 2 * h),
                                S::load(buffer + i + 3 * h)};
        radix4<T>(r);
        for (int q = 0; q < 4; ++q) S::store(buffer + i + q * h, r[q]);
      }
    }
  }
  if (h < end) {
    for (std::int64_t base = 0; base < size; base += 2 * h) {
      for (std::int64_t i = base; i < base + h; i += S::kLanes) {
        const typename S::Reg a = S::load(buffer + i), b = S::load(buffer + i + h);
        S::store(buffer + i, S::add(a, b));
        S::store(buffer + i + h, S::sub(a, b));
      }
    }
  }
}

/// buffer = WHT(signs * source * factor); L >= 4 * lanes. Source may be the buffer itself. Signs start at bit `shift`, which is
/// zero unless L < 128.
template <class T, class Element>
void transform(T* buffer, const Element* source, T factor, std::int64_t L, const std::uint32_t* signs, std::int64_t shift) {
  using S = Simd<T>;
  const typename S::Reg factors = S::set(factor);
  for (std::int64_t chunk = 0; chunk < L; chunk += kSrhtChunk) {
    const std::int64_t size = L - chunk < kSrhtChunk ? L - chunk : kSrhtChunk;
    for (std::int64_t i = chunk; i < chunk + size; i += 4 * S::kLanes) {
      typename S::Reg r[4];
      FIMO_UNROLL
      for (int q = 0; q < 4; ++q) {
        const std::int64_t at = i + q * S::kLanes;
        const typename S::Reg sign = S::sign_bits(signs[(shift + at) / 32] >> ((shift + at) % 32));
        r[q] = lane_stages<T, 1>(S::flip(S::mul(S::load(source + at), factors), sign));
      }
      radix4<T>(r);
      FIMO_UNROLL
      for (int q = 0; q < 4; ++q) S::store(buffer + i + q * S::kLanes, r[q]);
    }
    wide_stages(buffer + chunk, size, 4 * S::kLanes, size);
  }
  wide_stages(buffer, L, kSrhtChunk, L);
}

/// The same, in place, for blocks shorter than 4 * lanes.
template <class T>
void transform_short(T* buffer, std::int64_t L, const std::uint32_t* signs, std::int64_t shift) {
  for (std::int64_t i = 0; i < L; ++i) {
    const std::int64_t bit = shift + i;
    buffer[i] = flip_by_top_bit(buffer[i], signs[bit / 32] << (31 - bit % 32));
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
}

/// out[c] += ±buffer[rows[c]].
template <class T>
void add_rows(T* out, const T* buffer, const SrhtTask& task) {
  using S = Simd<T>;
  std::int64_t c = 0;
  for (; c + S::kLanes <= task.sketch_dim; c += S::kLanes) {
    const typename S::Reg y = task.rows ? S::gather(buffer, task.rows + c) : S::load(buffer + c);
    const typename S::Reg sign = S::sign_bits(task.signs_out[c / 32] >> (c % 32));
    S::store(out + c, S::add(S::load(out + c), S::flip(y, sign)));
  }
  for (; c < task.sketch_dim; ++c) {
    out[c] += flip_by_top_bit(buffer[task.rows ? task.rows[c] : c], task.signs_out[c / 32] << (31 - c % 32));
  }
}

template <class Element>
void srht(const SrhtTask& task) {
  using T = typename Accumulator<Element>::type;
  const std::int64_t L = task.block;
  const std::int64_t begin = static_cast<std::int64_t>(task.in.first_coordinate), end = begin + task.in.dim;
  const std::int64_t sign_blocks = (task.sketch_dim + 127) / 128;
  T* buffer = static_cast<T*>(task.buffer);
  for (std::int64_t block = begin / L; block * L < end; ++block) {
    const std::int64_t start = block * L;
    const std::int64_t low = start > begin ? start : begin;
    const std::int64_t high = start + L < end ? start + L : end;
    philox_fill(task.signs_in, static_cast<std::uint64_t>(start) / 128, L < 128 ? 1 : L / 128, 0, kStreamSrhtIn, task.in.seed);
    philox_fill(task.signs_out, static_cast<std::uint64_t>(block * sign_blocks), sign_blocks, 0, kStreamSrhtOut, task.in.seed);
    const std::int64_t shift = start % 128;  // only blocks shorter than 128 start inside a Philox block
    const bool wide = L >= 4 * Simd<T>::kLanes;
    for (std::int64_t row = 0; row < task.in.rows; ++row) {
      const Element* source = static_cast<const Element*>(task.in.grads) + row * task.in.row_stride + (low - begin);
      if (wide && high - low == L) {
        transform<T>(buffer, source, static_cast<T>(task.in.scale), L, task.signs_in, shift);
      } else {
        for (std::int64_t i = 0; i < low - start; ++i) buffer[i] = T(0);
        load_scaled(buffer + (low - start), source, high - low, task.in.scale);
        for (std::int64_t i = high - start; i < L; ++i) buffer[i] = T(0);
        if (wide) {
          transform<T>(buffer, buffer, T(1), L, task.signs_in, shift);
        } else {
          transform_short(buffer, L, task.signs_in, shift);
        }
      }
      add_rows(static_cast<T*>(task.out) + row * task.out_row_stride, buffer, task);
    }
  }
}

}  // namespace
}  // namespace fimo::FIMO_ISA

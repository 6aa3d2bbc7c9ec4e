// SPDX-License-Identifier: Apache-2.0
#include "sketches.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

#include "fimo_fast/random.h"

namespace check {
namespace {

using fimo::PhiloxBlock;
using fimo::Sketch;
using fimo::SketchKind;

bool bit(const PhiloxBlock& block, std::int64_t b) { return (block.word[b / 32] >> (b % 32)) & 1; }

PhiloxBlock philox(std::int64_t index, std::int64_t part, std::uint32_t stream, std::uint64_t seed) {
  return fimo::philox(static_cast<std::uint64_t>(index), static_cast<std::uint32_t>(part), stream, seed);
}

/// x / sqrt(count), the factor rounded to T first.
template <class T>
std::vector<T> scaled(std::vector<T> x, std::int64_t count) {
  const T scale = static_cast<T>(1.0 / std::sqrt(static_cast<double>(count)));
  for (T& value : x) value *= scale;
  return x;
}

template <class T>
void add_rademacher(const Sketch& sketch, std::int64_t first, const std::vector<T>& x, T* out) {
  const std::vector<T> y = scaled(x, sketch.sketch_dim);
  for (std::size_t i = 0; i < y.size(); ++i) {
    for (std::int64_t part = 0; part * 128 < sketch.sketch_dim; ++part) {
      const PhiloxBlock signs = philox(first + static_cast<std::int64_t>(i), part, fimo::kStreamRademacher, sketch.seed);
      for (std::int64_t c = part * 128; c < std::min(sketch.sketch_dim, part * 128 + 128); ++c) {
        out[c] += bit(signs, c % 128) ? -y[i] : y[i];
      }
    }
  }
}

/// Horner's rule, lowest power first; products and sums rounded.
template <std::size_t n>
float polynomial(const float (&coefficients)[n], float x) {
  float result = coefficients[n - 1];
  for (std::size_t i = n - 1; i > 0; --i) result = result * x + coefficients[i - 1];
  return result;
}

/// Two normal numbers by the Box-Muller transform.
std::pair<float, float> normal_pair(std::uint32_t word) {
  int exponent;
  float significand = static_cast<float>(std::frexp(static_cast<double>(2 * (word >> 16) + 1), &exponent));
  if (significand < 0.70710677f) {
    significand *= 2;
    --exponent;
  }
  const float f = significand - 1.0f;
  const float minus_2_log =
      polynomial({-2.000002f, 1.0000223f, -0.66629016f, 0.49819487f, -0.40992656f, 0.3733571f, -0.23792227f}, f);
  const float radius = std::sqrt(static_cast<float>(exponent - 17) * -1.3862944f + minus_2_log * f);
  const float x = std::ldexp(static_cast<float>(2 * ((word & 0xFFFF) / 4) + 1), -15), z = x * x;
  const float cosine = polynomial({-1.2336988f, 0.2536532f, -0.020813966f, 0.0008596901f}, z) * z + 1.0f;
  const float sine = polynomial({1.570791f, -0.64589286f, 0.07943434f, -0.004333095f}, z) * x;
  const float first = radius * cosine, second = radius * sine;
  return {word & 1 ? -first : first, word & 2 ? -second : second};
}

template <class T>
void add_gaussian(const Sketch& sketch, std::int64_t first, const std::vector<T>& x, T* out) {
  const std::vector<T> y = scaled(x, sketch.sketch_dim);
  for (std::size_t j = 0; j < y.size(); ++j) {
    for (std::int64_t part = 0; part / 16 * 128 < sketch.sketch_dim; ++part) {
      const PhiloxBlock words = philox(first + static_cast<std::int64_t>(j), part, fimo::kStreamGaussian, sketch.seed);
      for (int w = 0; w < 4; ++w) {
        const std::int64_t c = part / 16 * 128 + 32 * w + part % 16;
        const auto [cosine, sine] = normal_pair(words.word[w]);
        if (c < sketch.sketch_dim) out[c] = std::fma(y[j], static_cast<T>(cosine), out[c]);
        if (c + 16 < sketch.sketch_dim) out[c + 16] = std::fma(y[j], static_cast<T>(sine), out[c + 16]);
      }
    }
  }
}

template <class T>
void add_sjlt(const Sketch& sketch, std::int64_t first, const std::vector<T>& x, T* out) {
  const std::int64_t s = sketch.nonzeros;
  const std::vector<T> y = scaled(x, s);
  for (std::size_t i = 0; i < y.size(); ++i) {
    for (std::int64_t r = 0; r < s; ++r) {
      const std::int64_t q = (first + static_cast<std::int64_t>(i)) * s + r;
      const std::uint32_t word = philox(q / 4, 0, fimo::kStreamSjlt, sketch.seed).word[q % 4];
      const std::int64_t begin = r * sketch.sketch_dim / s, length = (r + 1) * sketch.sketch_dim / s - begin;
      const std::int64_t bucket = begin + static_cast<std::int64_t>(((word / 2) * static_cast<std::uint64_t>(length)) >> 31);
      out[bucket] += word & 1 ? -y[i] : y[i];
    }
  }
}

/// L, the length of an SRHT's blocks.
std::int64_t block_length(const Sketch& sketch) {
  std::int64_t length = 1;
  while (length < sketch.sketch_dim) length *= 2;
  return length;
}

/// floor(u n / 2^64) digit by digit: no 128-bit integers.
std::uint64_t high_product(std::uint64_t u, std::uint64_t n) {
  std::uint64_t high = 0, low = 0;
  for (int b = 63; b >= 0; --b) {
    high = high << 1 | low >> 63;
    low <<= 1;
    if ((u >> b) & 1) {
      low += n;
      high += low < n ? 1u : 0u;
    }
  }
  return high;
}

template <class T>
void add_mask(const Sketch& sketch, std::int64_t first, const std::vector<T>& x, T* out) {
  const std::int64_t d = sketch.input_dim, k = sketch.sketch_dim;
  // floor(c d / k) without a product of 78 bits.
  const auto stratum = [&](std::int64_t c) { return d / k * c + d % k * c / k; };
  for (std::int64_t c = 0; c < k; ++c) {
    const std::int64_t length = stratum(c + 1) - stratum(c);
    const PhiloxBlock block = philox(c, 0, fimo::kStreamMask, sketch.seed);
    const std::uint64_t u = block.word[0] | static_cast<std::uint64_t>(block.word[1]) << 32;
    const std::int64_t j = stratum(c) + static_cast<std::int64_t>(high_product(u, static_cast<std::uint64_t>(length)));
    if (j < first || j - first >= static_cast<std::int64_t>(x.size())) continue;
    out[c] += x[static_cast<std::size_t>(j - first)] * static_cast<T>(std::sqrt(static_cast<double>(length)));
  }
}

std::vector<std::int64_t> srht_rows(const Sketch& sketch) {
  const std::int64_t length = block_length(sketch);
  std::vector<std::int64_t> rows(static_cast<std::size_t>(length));
  std::iota(rows.begin(), rows.end(), 0);
  if (length == sketch.sketch_dim) return rows;
  for (std::int64_t i = 0; i < sketch.sketch_dim; ++i) {
    const PhiloxBlock block = philox(i, 0, fimo::kStreamSrhtRows, sketch.seed);
    const std::uint64_t u = block.word[0] | static_cast<std::uint64_t>(block.word[1]) << 32;
    const std::uint64_t other = static_cast<std::uint64_t>(i) + high_product(u, static_cast<std::uint64_t>(length - i));
    std::swap(rows[static_cast<std::size_t>(i)], rows[other]);
  }
  rows.resize(static_cast<std::size_t>(sketch.sketch_dim));
  std::sort(rows.begin(), rows.end());
  return rows;
}

template <class T>
void add_srht(const Sketch& sketch, std::int64_t first, const std::vector<T>& x, T* out) {
  const std::vector<T> scaled_x = scaled(x, sketch.sketch_dim);
  const std::int64_t length = block_length(sketch), end = first + static_cast<std::int64_t>(x.size());
  const std::vector<std::int64_t> rows = srht_rows(sketch);
  const std::int64_t parts = (sketch.sketch_dim + 127) / 128;
  for (std::int64_t block = first / length; block * length < end; ++block) {
    std::vector<T> y(static_cast<std::size_t>(length), T(0));
    for (std::int64_t j = std::max(first, block * length); j < std::min(end, (block + 1) * length); ++j) {
      const bool minus = bit(philox(j / 128, 0, fimo::kStreamSrhtIn, sketch.seed), j % 128);
      const T value = scaled_x[static_cast<std::size_t>(j - first)];
      y[static_cast<std::size_t>(j - block * length)] = minus ? -value : value;
    }
    for (std::size_t h = 1; h < y.size(); h *= 2) {
      for (std::size_t i = 0; i < y.size(); ++i) {
        if (i & h) continue;
        const T a = y[i], b = y[i + h];
        y[i] = a + b;
        y[i + h] = a - b;
      }
    }
    for (std::int64_t c = 0; c < sketch.sketch_dim; ++c) {
      const bool minus = bit(philox(block * parts + c / 128, 0, fimo::kStreamSrhtOut, sketch.seed), c % 128);
      const T value = y[static_cast<std::size_t>(rows[static_cast<std::size_t>(c)])];
      out[c] += minus ? -value : value;
    }
  }
}

template <SketchKind kind, std::int64_t most_nonzeros>
Sketch make(std::int64_t input_dim, std::int64_t sketch_dim, std::uint64_t seed) {
  return {kind, input_dim, sketch_dim, seed, std::min(sketch_dim, most_nonzeros)};
}

/// One coordinate for each output: there must be as many.
Sketch make_mask(std::int64_t input_dim, std::int64_t sketch_dim, std::uint64_t seed) {
  return make<SketchKind::kMask, 0>(std::max(input_dim, sketch_dim), sketch_dim, seed);
}

std::int64_t cut_anywhere(const Sketch&) { return 1; }
std::int64_t dense(const Sketch& sketch) { return sketch.sketch_dim; }
std::int64_t slow(const Sketch& sketch) { return 4 * sketch.sketch_dim; }
std::int64_t sparse(const Sketch& sketch) { return sketch.nonzeros; }
std::int64_t fast(const Sketch&) { return 32; }

}  // namespace

const std::vector<SketchDefinition>& sketch_definitions() {
  static const std::vector<SketchDefinition> all{
      {"rademacher", make<SketchKind::kRademacher, 0>, cut_anywhere, dense, add_rademacher<float>, add_rademacher<double>},
      {"gaussian", make<SketchKind::kGaussian, 0>, cut_anywhere, slow, add_gaussian<float>, add_gaussian<double>},
      {"mask", make_mask, cut_anywhere, sparse, add_mask<float>, add_mask<double>},
      {"sjlt with 1 nonzero", make<SketchKind::kSjlt, 1>, cut_anywhere, sparse, add_sjlt<float>, add_sjlt<double>},
      {"sjlt with 3 nonzeros", make<SketchKind::kSjlt, 3>, cut_anywhere, sparse, add_sjlt<float>, add_sjlt<double>},
      {"sjlt with 40 nonzeros", make<SketchKind::kSjlt, 40>, cut_anywhere, sparse, add_sjlt<float>, add_sjlt<double>},
      {"srht", make<SketchKind::kSrht, 0>, block_length, fast, add_srht<float>, add_srht<double>},
  };
  return all;
}

}  // namespace check

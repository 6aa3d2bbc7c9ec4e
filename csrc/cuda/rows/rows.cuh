// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the kernels of rows_project share: the tokens that count, in the order of their rows, and where sums go.
///
/// G_b = sum_t e_{index[b,t]} delta[b,t]^T has T d numbers that may differ from zero, of V d: every kernel walks along the
/// tokens of a group of examples, sorted by row and then by token (rows_lists.cuh), so that what a sketch has for one row, or
/// for one block of an SRHT, is made once for all tokens that it concerns. Dense sketches take up to kRowsExamples examples in
/// a group, the others one.
#pragma once

#include "cuda/device/entries.cuh"

namespace fimo::cuda {

constexpr int kRowsExamples = 16;

struct Rows {
  const void* delta;  // [batch, tokens, dim]
  std::int64_t batch_stride, token_stride;
  std::int64_t batch, tokens, dim;
  std::int64_t offset;    // of row 0 in the sketch's input
  std::int64_t examples;  // of a group; the last one may have fewer
  // Of each group, examples * tokens of what follows, and a count.
  std::int64_t* row;
  std::int64_t* element;  // of delta, the token's first
  std::int32_t* example;  // within the group
  std::int32_t* count;

  FIMO_HOST_DEVICE std::int64_t capacity() const { return examples * tokens; }
};

/// The tokens of a group.
template <class Element>
struct RowsList {
  const Rows& rows;
  const std::int64_t *row, *element;
  const std::int32_t* example;
  std::int64_t first_example;
  std::int64_t count;

  FIMO_DEVICE RowsList(const Rows& rows, std::int64_t group)
      : rows(rows),
        row(rows.row + group * rows.capacity()),
        element(rows.element + group * rows.capacity()),
        example(rows.example + group * rows.capacity()),
        first_example(group * rows.examples),
        count(rows.count[group]) {}

  FIMO_DEVICE const Element* delta(std::int64_t i) const { return static_cast<const Element*>(rows.delta) + element[i]; }
  /// Of its first number in the sketch's input.
  FIMO_DEVICE std::int64_t coordinate(std::int64_t i) const { return rows.offset + row[i] * rows.dim; }
};

/// Where the sums of a part of the tokens go: to [parts, batch, cols], or with one part they are added to the result.
struct RowsOut {
  float* data;
  std::int64_t parts, part_stride, stride;

  FIMO_DEVICE void put(std::int64_t part, std::int64_t example, std::int64_t c, float sum) const {
    float* to = data + part * part_stride + example * stride + c;
    *to = parts == 1 ? *to + sum : sum;
  }
};

}  // namespace fimo::cuda

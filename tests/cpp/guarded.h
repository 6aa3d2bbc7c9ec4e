// SPDX-License-Identifier: Apache-2.0
/// \file
/// Memory that ends where readable memory ends.
///
/// AddressSanitizer sees what the compiler emits as loads and stores, but not what intrinsics with a mask or gathers touch. A
/// page without access right behind the last byte stops both, in every build and under emulation.
#pragma once

#include <cstddef>

namespace check {

/// `bytes` bytes whose end is the end of a page (rounded down to `alignment`), filled with 0xFF: NaN in every floating-point
/// type, so that reading what nobody wrote shows in the result. Under AddressSanitizer the rest of the page is poisoned.
void* guarded_allocate(std::size_t bytes, std::size_t alignment);
void guarded_free(void* data);

/// Owns guarded memory of any element type.
class Guarded {
 public:
  explicit Guarded(std::size_t bytes) : data_(guarded_allocate(bytes, 1)) {}
  ~Guarded() { guarded_free(data_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  unsigned char* bytes() const { return static_cast<unsigned char*>(data_); }

 private:
  void* data_;
};

}  // namespace check

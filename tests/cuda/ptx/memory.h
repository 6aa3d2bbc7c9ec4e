// SPDX-License-Identifier: Apache-2.0
// Addresses of PTX as pointers, checked at each access. Those of global, constant and local memory, and generic ones, are
// pointers of this process. Those of shared memory count from its begin, as on a GPU, in 32 or 64 bits.
// Accesses to global memory must lie in one Range; of generic ones nobody knows what they mean to reach.
#pragma once

#include <cstdint>
#include <string>

#include "emulator/emulator.h"
#include "ptx/arithmetic.h"
#include "ptx/ranges.h"

namespace ptx {

[[noreturn]] inline void fail_access(const char* what, std::uint64_t address, std::size_t bytes) {
  emulator::fail(std::string(what) + ": " + std::to_string(bytes) + " bytes at " + std::to_string(address));
}

/// In another space than shared memory.
template <class T, int kCount = 1>
T* at(std::uint64_t address) {
  constexpr std::size_t bytes = sizeof(T) * kCount;
  if (address < 4096) fail_access("access through a null pointer", address, bytes);
  if (address % bytes) fail_access("misaligned address", address, bytes);
  return reinterpret_cast<T*>(address);
}

template <class T, int kCount = 1>
T* in_shared(std::uint64_t address) {
  constexpr std::size_t bytes = sizeof(T) * kCount;
  if (address + bytes > emulator::current->shared_bytes || address + bytes < bytes) {
    fail_access("outside shared memory", address, bytes);
  }
  if (address % bytes) fail_access("misaligned address in shared memory", address, bytes);
  return reinterpret_cast<T*>(emulator::current->shared + address);
}

inline std::uint64_t pointer_bits(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }
inline std::uint64_t pointer_bits(std::uint64_t address) { return address; }

template <class T, int kCount = 1, class Address>
T* in_global(Address address) {
  T* pointer = at<T, kCount>(pointer_bits(address));
  const std::size_t bytes = sizeof(T) * kCount;
  if (!in_range(pointer_bits(pointer), bytes)) fail_access("outside every array", pointer_bits(pointer), bytes);
  return pointer;
}
template <class T, int kCount = 1, class Address>
T* in_const(Address address) {
  return at<T, kCount>(pointer_bits(address));
}
template <class T, int kCount = 1, class Address>
T* in_local(Address address) {
  return at<T, kCount>(pointer_bits(address));
}
template <class T, int kCount = 1, class Address>
T* in_param(Address address) {
  return at<T, kCount>(pointer_bits(address));
}
template <class T, int kCount = 1>
T* in_generic(std::uint64_t address) {
  return at<T, kCount>(address);
}

inline std::uint64_t shared_to_generic(std::uint64_t address) { return pointer_bits(emulator::current->shared) + address; }
inline std::uint64_t generic_to_shared(std::uint64_t address) { return address - pointer_bits(emulator::current->shared); }

inline std::uint32_t atomic_inc(std::uint32_t* p, std::uint32_t last) {
  return emulator::atomically(p, [&](std::uint32_t old) { return old >= last ? 0u : old + 1; });
}
inline std::uint32_t atomic_dec(std::uint32_t* p, std::uint32_t last) {
  return emulator::atomically(p, [&](std::uint32_t old) { return old == 0 || old > last ? last : old - 1; });
}

/// cp.async: kBytes of shared memory become the source's first `read` bytes and zeros.
template <int kBytes>
void copy_async(std::uint64_t to, std::uint64_t from, unsigned read) {
  struct Bytes {
    unsigned char all[kBytes];
  };
  if (read > kBytes) emulator::fail("cp.async: reads more than it copies");
  if (from % kBytes && read) fail_access("misaligned address", from, kBytes);
  if (read && !in_range(from, read)) fail_access("outside every array", from, read);
  emulator::copy_async(in_shared<Bytes>(to), reinterpret_cast<const void*>(from), kBytes, read);
}

}  // namespace ptx

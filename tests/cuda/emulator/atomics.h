// SPDX-License-Identifier: Apache-2.0
// Atomics. Relaxed: as in CUDA they order nothing by themselves, only together with __threadfence (scheduler.h).
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "emulator/scheduler.h"

namespace emulator {

template <std::size_t Bytes>
struct uint_of;
template <>
struct uint_of<2> {
  using t = std::uint16_t;
};
template <>
struct uint_of<4> {
  using t = std::uint32_t;
};
template <>
struct uint_of<8> {
  using t = std::uint64_t;
};

/// *p = update(*p) in one step; returns what was there before.
template <class Bits, class T, class Update>
T cas_loop(T* p, Update update) {
  static_assert(sizeof(Bits) == sizeof(T), "the same bits");
  before_atomic(p);
  auto* target = reinterpret_cast<Bits*>(p);
  Bits seen = __atomic_load_n(target, __ATOMIC_RELAXED);
  for (;;) {
    T before;
    std::memcpy(static_cast<void*>(&before), &seen, sizeof(T));
    const T after = update(before);
    Bits wanted;
    std::memcpy(&wanted, static_cast<const void*>(&after), sizeof(T));
    if (__atomic_compare_exchange_n(target, &seen, wanted, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return before;
  }
}

template <class T, class Update>
T atomically(T* p, Update update) {
  return cas_loop<typename uint_of<sizeof(T)>::t>(p, update);
}

/// The type of an argument that follows the pointer's.
template <class T>
using Same = typename std::common_type<T>::type;

}  // namespace emulator

template <class T>
T atomicAdd(T* p, emulator::Same<T> value) {
  return emulator::atomically(p, [&](T old) { return static_cast<T>(old + value); });
}
template <class T>
T atomicSub(T* p, emulator::Same<T> value) {
  return emulator::atomically(p, [&](T old) { return static_cast<T>(old - value); });
}
template <class T>
T atomicMin(T* p, emulator::Same<T> value) {
  return emulator::atomically(p, [&](T old) { return old < value ? old : value; });
}
template <class T>
T atomicMax(T* p, emulator::Same<T> value) {
  return emulator::atomically(p, [&](T old) { return old > value ? old : value; });
}
template <class T>
T atomicExch(T* p, emulator::Same<T> value) {
  return emulator::atomically(p, [&](T) { return value; });
}
template <class T>
T atomicCAS(T* p, emulator::Same<T> expected, emulator::Same<T> value) {
  return emulator::atomically(p, [&](T old) { return old == expected ? value : old; });
}
template <class T>
T atomicAnd(T* p, emulator::Same<T> value) {
  return emulator::atomically(p, [&](T old) { return static_cast<T>(old & value); });
}
template <class T>
T atomicOr(T* p, emulator::Same<T> value) {
  return emulator::atomically(p, [&](T old) { return static_cast<T>(old | value); });
}
template <class T>
T atomicXor(T* p, emulator::Same<T> value) {
  return emulator::atomically(p, [&](T old) { return static_cast<T>(old ^ value); });
}

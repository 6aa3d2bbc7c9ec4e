// SPDX-License-Identifier: Apache-2.0
// Collectives of a warp. Except __syncwarp they order no memory, as in CUDA.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "emulator/scheduler.h"

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) {
  int nothing = 0;
  emulator::warp_collective(mask, "__syncwarp", &nothing, [](void* const*, unsigned) {}, true);
}

/// CUDA promises no more than that the lane itself is active.
inline unsigned __activemask() { return 1u << emulator::current->lane; }

namespace emulator {

template <class T>
struct Shuffled {
  T in, out;
  int source;
};

/// The value of lane `source`; poison where that lane takes no part, as CUDA leaves it undefined.
template <class T>
T shfl(unsigned mask, T value, int source, const char* name) {
  static_assert(std::is_trivially_copyable<T>::value && sizeof(T) <= 16, "what a shuffle can exchange");
  Shuffled<T> arguments{value, value, source};
  warp_collective(mask, name, &arguments, [](void* const lanes[32], unsigned live) {
    for (int lane = 0; lane < 32; ++lane) {
      if (!(live >> lane & 1)) continue;
      auto& mine = *static_cast<Shuffled<T>*>(lanes[lane]);
      if (live >> mine.source & 1) {
        mine.out = static_cast<Shuffled<T>*>(lanes[mine.source])->in;
      } else {
        std::memset(static_cast<void*>(&mine.out), 0xFF, sizeof(T));
      }
    }
  });
  return arguments.out;
}

inline int lane() { return static_cast<int>(current->lane); }
/// The first lane of this one's segment of `width` lanes.
inline int segment(int width) { return lane() & ~(width - 1); }

struct Vote {
  std::uint64_t in, out;
};

/// All lanes' values to a result for each lane: of(values, live, lane).
template <class Of>
std::uint64_t vote(unsigned mask, std::uint64_t value, const char* name, Of) {
  Vote arguments{value, 0};
  warp_collective(mask, name, &arguments, [](void* const lanes[32], unsigned live) {
    std::uint64_t values[32] = {};
    for (int i = 0; i < 32; ++i) {
      if (live >> i & 1) values[i] = static_cast<Vote*>(lanes[i])->in;
    }
    for (int i = 0; i < 32; ++i) {
      if (live >> i & 1) static_cast<Vote*>(lanes[i])->out = Of::of(values, live, i);
    }
  });
  return arguments.out;
}

struct Ballot {
  static std::uint64_t of(const std::uint64_t values[32], unsigned live, int) {
    std::uint64_t ballot = 0;
    for (int i = 0; i < 32; ++i) {
      if (live >> i & 1) ballot |= (values[i] & 1) << i;
    }
    return ballot;
  }
};
struct All {
  static std::uint64_t of(const std::uint64_t values[32], unsigned live, int) { return Ballot::of(values, live, 0) == live; }
};
struct Match {
  static std::uint64_t of(const std::uint64_t values[32], unsigned live, int lane) {
    std::uint64_t equal = 0;
    for (int i = 0; i < 32; ++i) {
      if (live >> i & 1) equal |= std::uint64_t{values[i] == values[lane]} << i;
    }
    return equal;
  }
};
/// Operation::of(a, b) over all lanes.
template <class T, class Operation>
struct Reduce {
  static std::uint64_t of(const std::uint64_t values[32], unsigned live, int) {
    T result{};
    bool first = true;
    for (int i = 0; i < 32; ++i) {
      if (!(live >> i & 1)) continue;
      const T value = static_cast<T>(values[i]);
      result = first ? value : Operation::of(result, value);
      first = false;
    }
    return static_cast<std::uint64_t>(result);
  }
};
struct Add {
  static unsigned of(unsigned a, unsigned b) { return a + b; }
};
struct Least {
  template <class T>
  static T of(T a, T b) {
    return a < b ? a : b;
  }
};
struct Greatest {
  template <class T>
  static T of(T a, T b) {
    return a > b ? a : b;
  }
};
struct BitAnd {
  static unsigned of(unsigned a, unsigned b) { return a & b; }
};
struct BitOr {
  static unsigned of(unsigned a, unsigned b) { return a | b; }
};
struct BitXor {
  static unsigned of(unsigned a, unsigned b) { return a ^ b; }
};

}  // namespace emulator

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  return emulator::shfl(mask, value, emulator::segment(width) | (source & (width - 1)), "__shfl_sync");
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance, int width = 32) {
  const int source = emulator::lane() ^ distance;
  const bool inside = source < emulator::segment(width) + width;
  return emulator::shfl(mask, value, inside ? source : emulator::lane(), "__shfl_xor_sync");
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32) {
  const int source = emulator::lane() + static_cast<int>(distance);
  const bool inside = source < emulator::segment(width) + width;
  return emulator::shfl(mask, value, inside ? source : emulator::lane(), "__shfl_down_sync");
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32) {
  const int source = emulator::lane() - static_cast<int>(distance);
  const bool inside = source >= emulator::segment(width);
  return emulator::shfl(mask, value, inside ? source : emulator::lane(), "__shfl_up_sync");
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return static_cast<unsigned>(emulator::vote(mask, predicate != 0, "__ballot_sync", emulator::Ballot{}));
}
inline int __any_sync(unsigned mask, int predicate) {
  return emulator::vote(mask, predicate != 0, "__any_sync", emulator::Ballot{}) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return static_cast<int>(emulator::vote(mask, predicate != 0, "__all_sync", emulator::All{}));
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value) {
  static_assert(std::is_trivially_copyable<T>::value && sizeof(T) <= 8, "what can be matched");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return static_cast<unsigned>(emulator::vote(mask, bits, "__match_any_sync", emulator::Match{}));
}

#define FIMO_REDUCE(Name, T, Operation)                                                           \
  inline T Name(unsigned mask, T value) {                                                         \
    using All = emulator::Reduce<T, emulator::Operation>;                                         \
    return static_cast<T>(emulator::vote(mask, static_cast<std::uint64_t>(value), #Name, All{})); \
  }
FIMO_REDUCE(__reduce_add_sync, unsigned, Add)
FIMO_REDUCE(__reduce_add_sync, int, Add)
FIMO_REDUCE(__reduce_min_sync, unsigned, Least)
FIMO_REDUCE(__reduce_min_sync, int, Least)
FIMO_REDUCE(__reduce_max_sync, unsigned, Greatest)
FIMO_REDUCE(__reduce_max_sync, int, Greatest)
FIMO_REDUCE(__reduce_and_sync, unsigned, BitAnd)
FIMO_REDUCE(__reduce_or_sync, unsigned, BitOr)
FIMO_REDUCE(__reduce_xor_sync, unsigned, BitXor)
#undef FIMO_REDUCE

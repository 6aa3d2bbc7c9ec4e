// SPDX-License-Identifier: Apache-2.0
/// \file
/// The few instructions that need inline PTX, each with a host twin for the emulator.
///
/// Fragments are those of the PTX ISA, "Matrix Fragments for mma": with g = lane / 4 and t = lane % 4, of an m16nNkK product,
/// register i of A holds rows g + 8 (i % 2) and columns from (i / 2) K / 2 + t w, register i of B column g of the n and rows
/// from i K / 2 + t w, w = the elements of a register; register i of D is row g + 8 (i / 2), column 2 t + i % 2. (8-bit types:
/// the same with w = 4.)
#pragma once

#include "cuda/device/gpu.cuh"
#include "fimo_fast/random.h"

namespace fimo::cuda {

#if defined(FIMO_EMULATE)

/// The product from the fragments of all lanes. Unpack(register, i) is element i of a register.
template <class Sum, int K, int Width, class Unpack>
void emulate_mma(const char* name, Sum (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Unpack) {
  static_assert(K == 8 * Width, "the shapes with four registers of A and two of B");
  struct Arguments {
    Sum* d;
    const std::uint32_t *a, *b;
  } arguments{d, a, b};
  emulator::warp_collective(kAllLanes, name, &arguments, [](void* const lanes[32], unsigned live) {
    if (live != kAllLanes) emulator::fail("mma with lanes that have exited");
    Sum A[16][K], B[K][8];
    for (int lane = 0; lane < 32; ++lane) {
      const auto& x = *static_cast<const Arguments*>(lanes[lane]);
      const int g = lane >> 2, t = lane & 3;
      for (int i = 0; i < 4; ++i) {
        for (int e = 0; e < Width; ++e) A[g + 8 * (i & 1)][(i >> 1) * (K / 2) + t * Width + e] = Unpack::get(x.a[i], e);
      }
      for (int i = 0; i < 2; ++i) {
        for (int e = 0; e < Width; ++e) B[i * (K / 2) + t * Width + e][g] = Unpack::get(x.b[i], e);
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      auto& x = *static_cast<Arguments*>(lanes[lane]);
      const int g = lane >> 2, t = lane & 3;
      for (int i = 0; i < 4; ++i) {
        Sum sum = 0;
        for (int k = 0; k < K; ++k) sum += A[g + 8 * (i >> 1)][k] * B[k][t * 2 + (i & 1)];
        x.d[i] += sum;
      }
    }
  });
}

struct UnpackBf16 {
  static float get(std::uint32_t r, int i) { return __uint_as_float((r >> (16 * i)) << 16); }
};
struct UnpackHalf {
  static float get(std::uint32_t r, int i) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(r >> (16 * i))));
  }
};
/// What the tensor core sees of a float: the low 13 bits do not count.
struct UnpackTf32 {
  static float get(std::uint32_t r, int) { return __uint_as_float(r & 0xFFFFE000u); }
};
struct UnpackInt8 {
  static int get(std::uint32_t r, int i) { return static_cast<std::int8_t>(r >> (8 * i)); }
};

#define FIMO_MMA(Name, Text, Sum, K, Width, Unpack, Constraint)                                 \
  FIMO_DEVICE void Name(Sum(&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) { \
    emulate_mma<Sum, K, Width>(Text, d, a, b, Unpack{});                                        \
  }
#else
#define FIMO_MMA(Name, Text, Sum, K, Width, Unpack, Constraint)                                           \
  FIMO_DEVICE void Name(Sum(&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {           \
    asm volatile("mma.sync.aligned." Text " {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};\n"         \
                 : "+" Constraint(d[0]), "+" Constraint(d[1]), "+" Constraint(d[2]), "+" Constraint(d[3]) \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                     \
  }
#endif

/// d += a b, 16 x 8 x 16, bfloat16 with float32 sums.
FIMO_MMA(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32", float, 16, 2, UnpackBf16, "f")
/// d += a b, 16 x 8 x 16, float16 with float32 sums.
FIMO_MMA(mma_half, "m16n8k16.row.col.f32.f16.f16.f32", float, 16, 2, UnpackHalf, "f")
/// d += a b, 16 x 8 x 8, TF32 (floats of which the top 19 bits count) with float32 sums.
FIMO_MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32", float, 8, 1, UnpackTf32, "f")
/// d += a b, 16 x 8 x 32, int8 with int32 sums.
FIMO_MMA(mma_int8, "m16n8k32.row.col.s32.s8.s8.s32", int, 32, 4, UnpackInt8, "r")
#undef FIMO_MMA

/// x, of which the compiler knows nothing: what depends on it stays after this place, instead of occupying registers from the
/// start of a loop on.
FIMO_DEVICE std::int64_t opaque(std::int64_t x) {
#if !defined(FIMO_EMULATE)
  asm volatile("" : "+l"(x));
#endif
  return x;
}

/// x, computed before a branch that may not use it, not behind one.
FIMO_DEVICE float computed(float x) {
#if !defined(FIMO_EMULATE)
  asm volatile("" : "+f"(x));
#endif
  return x;
}

/// The product of two words, 32 bits by 32: what compilers make of C++ multiplies 64 bits by 64 where a word was cut out of a
/// product. Host code instantiates it too.
struct WideProduct {
  FIMO_HOST_DEVICE FIMO_FORCE_INLINE std::uint64_t operator()(std::uint32_t a, std::uint32_t b) const {
#if defined(__CUDA_ARCH__)
    std::uint64_t product;
    asm("mul.wide.u32 %0, %1, %2;\n" : "=l"(product) : "r"(a), "r"(b));
    return product;
#else
    return static_cast<std::uint64_t>(a) * b;
#endif
  }
};

/// (x & mask) | bits in one instruction: compilers take two for constants.
FIMO_DEVICE std::uint32_t masked_or(std::uint32_t x, std::uint32_t mask, std::uint32_t bits) {
#if defined(FIMO_EMULATE)
  return (x & mask) | bits;
#else
  std::uint32_t y;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;\n" : "=r"(y) : "r"(x), "r"(mask), "r"(bits));
  return y;
#endif
}

/// 1 / sqrt(x) of a normal number, within 2 units in the last place.
FIMO_DEVICE float reciprocal_root(float x) {
#if defined(FIMO_EMULATE)
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x)));
#else
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

/// Starts copying Bytes (4, 8 or 16) from global to shared memory; zeros where `inside` is false. Both sides are aligned to
/// Bytes.
template <int Bytes>
FIMO_DEVICE void copy_async(void* to_shared, const void* from_global, bool inside) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16, "cp.async copies 4, 8 or 16 bytes");
#if defined(FIMO_EMULATE)
  if (reinterpret_cast<std::uintptr_t>(to_shared) % Bytes ||
      (inside && reinterpret_cast<std::uintptr_t>(from_global) % Bytes)) {
    emulator::fail("cp.async: misaligned");
  }
  emulator::copy_async(to_shared, from_global, Bytes, inside ? Bytes : 0);
#else
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(to_shared));
  if constexpr (Bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from_global), "r"(inside ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(to), "l"(from_global), "n"(Bytes),
                 "r"(inside ? Bytes : 0)
                 : "memory");
  }
#endif
}

/// The same with zeros after the first `inside` bytes (0 to Bytes), for the ends of rows.
template <int Bytes>
FIMO_DEVICE void copy_async_part(void* to_shared, const void* from_global, int inside) {
  static_assert(Bytes == 4 || Bytes == 16, "the two that rows need");
#if defined(FIMO_EMULATE)
  if (inside < 0 || inside > Bytes) emulator::fail("cp.async: more bytes than it copies");
  if (reinterpret_cast<std::uintptr_t>(to_shared) % Bytes ||
      (inside && reinterpret_cast<std::uintptr_t>(from_global) % Bytes)) {
    emulator::fail("cp.async: misaligned");
  }
  emulator::copy_async(to_shared, from_global, Bytes, static_cast<unsigned>(inside));
#else
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(to_shared));
  if constexpr (Bytes == 16) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from_global), "r"(inside)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(to), "l"(from_global), "n"(Bytes), "r"(inside)
                 : "memory");
  }
#endif
}

/// ldmatrix: four matrices of 8 rows of 16 bytes from shared memory. Lane i gives the address of row i % 8 of matrix i / 8, and
/// gets into register m the 4 bytes at 4 (lane % 4) of row lane / 4 of matrix m: fragments of every type that mma takes.
FIMO_DEVICE void load_matrices(std::uint32_t (&registers)[4], const void* row) {
#if defined(FIMO_EMULATE)
  if (reinterpret_cast<std::uintptr_t>(row) % 16) emulator::fail("ldmatrix: misaligned");
  struct Arguments {
    std::uint32_t row[4];
    std::uint32_t* registers;
  } arguments{{}, registers};
  // Every lane reads its own row before they meet, so that sanitizers see who reads what.
  for (int i = 0; i < 4; ++i) arguments.row[i] = static_cast<const std::uint32_t*>(row)[i];
  emulator::warp_collective(kAllLanes, "ldmatrix", &arguments, [](void* const lanes[32], unsigned live) {
    if (live != kAllLanes) emulator::fail("ldmatrix with lanes that have exited");
    for (int lane = 0; lane < 32; ++lane) {
      for (int m = 0; m < 4; ++m) {
        static_cast<Arguments*>(lanes[lane])->registers[m] = static_cast<Arguments*>(lanes[8 * m + lane / 4])->row[lane % 4];
      }
    }
  });
#else
  const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(from)
               : "memory");
#endif
}

/// Ends a group of copies of this thread.
FIMO_DEVICE void copy_async_commit() {
#if defined(FIMO_EMULATE)
  emulator::copy_async_commit();
#else
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

/// Waits until at most `Pending` of this thread's groups are under way. Other threads' copies need a barrier after it.
template <int Pending>
FIMO_DEVICE void copy_async_wait() {
#if defined(FIMO_EMULATE)
  emulator::copy_async_wait(Pending);
#else
  asm volatile("cp.async.wait_group %0;\n" ::"n"(Pending) : "memory");
#endif
}

/// threadIdx.x, read anew: what is computed from it need not stay in registers through a loop.
FIMO_DEVICE unsigned fresh_thread() {
#if defined(FIMO_EMULATE)
  return threadIdx.x;
#else
  unsigned x;
  asm volatile("mov.u32 %0, %%tid.x;\n" : "=r"(x));
  return x;
#endif
}

}  // namespace fimo::cuda

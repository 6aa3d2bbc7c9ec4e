// SPDX-License-Identifier: Apache-2.0
// Host emulation of the CUDA execution model (tests only).
// One fiber per CUDA thread, blocks run one after another on one OS thread. A fiber runs until it
// blocks (barrier / warp collective) or exits, so every missing barrier shows up as a wrong result,
// a NaN (shared memory is poisoned), a ThreadSanitizer report or an ASan report - see emu.cpp.
#pragma once
#include <cstdint>
#include <cstring>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>
#include <type_traits>
#include <vector_types.h>      // NVIDIA's uint3/dim3/float4..., plain C++ when included by g++
#include <vector_functions.h>
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __shared__
#undef __launch_bounds__
#undef __forceinline__
#undef __grid_constant__
#undef __align__
#undef __noinline__
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static          // legal because blocks run one at a time; prefer gpu::smem<T>()
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __grid_constant__
#define __align__(n) alignas(n)

namespace emulator {
struct Fiber;                      // opaque, emu.cpp
struct Cursor { uint3 tid, bid; dim3 bdim, gdim; unsigned lin, lane; unsigned char* shared; size_t shared_bytes; };
extern Cursor* current;                // of the running fiber
enum class Sched { fifo, lifo, random };
struct Options { Sched sched = Sched::fifo; uint64_t seed = 1; bool check_smem_limit = true; size_t smem_limit = 232448; bool low_smem = false; };
extern Options options;            // also from FIMO_EMULATOR_SCHEDULE=fifo|lifo|random:SEED
struct Error : std::runtime_error { using runtime_error::runtime_error; };

void run_grid(dim3 grid, dim3 block, size_t smem, void (*fn)(void*), void* ctx);
void barrier(unsigned id, unsigned count, const char* file = nullptr, int line = 0);   // count 0 = all live threads
unsigned barrier_reduce(int pred, int op, const char* file, int line);   // 0 count, 1 and, 2 or
// A warp collective: the last lane of `mask` to arrive runs fn(args of all 32 lanes, live mask).
using WarpFn = void (*)(void* const args[32], unsigned live);
void warp_collective(unsigned mask, const char* name, void* args, WarpFn fn, bool sync_mem = false);
[[noreturn]] void fail(const char* msg);
unsigned exited_lanes();

template <class T> struct ShflArg { T in, out; int src; bool valid; };
template <class T> T shfl(unsigned mask, T v, int src, const char* name) {
    static_assert(std::is_trivially_copyable<T>::value && sizeof(T) <= 16, "");
    ShflArg<T> a; a.in = v; a.src = src;
    warp_collective(mask, name, &a, [](void* const args[32], unsigned live) {
        for (int l = 0; l < 32; ++l) if (live >> l & 1) {
            auto& d = *static_cast<ShflArg<T>*>(args[l]);
            if (live >> d.src & 1) d.out = static_cast<ShflArg<T>*>(args[d.src])->in;
            else std::memset((void*)&d.out, 0xFF, sizeof(T));        // undefined on hardware: poison
        }
    });
    return a.out;
}
struct VoteArg { uint64_t in, out; };
inline uint64_t vote(unsigned mask, uint64_t v, WarpFn fn, const char* name) {
    VoteArg a{v, 0}; warp_collective(mask, name, &a, fn); return a.out;
}
template <class U, class T, class F> T cas_loop(T* p, F f) {
    static_assert(sizeof(U) == sizeof(T), "");
    U* u = reinterpret_cast<U*>(p); U o = __atomic_load_n(u, __ATOMIC_RELAXED);
    for (;;) {
        T old; std::memcpy((void*)&old, &o, sizeof(T)); T nw = f(old); U n; std::memcpy(&n, (void*)&nw, sizeof(T));
        if (__atomic_compare_exchange_n(u, &o, n, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return old;
    }
}
template <size_t N> struct uint_of; template <> struct uint_of<2> { using t = uint16_t; };
template <> struct uint_of<4> { using t = uint32_t; }; template <> struct uint_of<8> { using t = uint64_t; };
// cp.async: the copy happens at the wait, so code that forgets the wait reads poison.
void copy_async(void* dst, const void* src, unsigned bytes, unsigned src_bytes);
void copy_async_commit(); void copy_async_wait(unsigned keep_groups);

/// The kernels launched since forget_launched(), with their template arguments.
const std::vector<std::string>& launched();
void forget_launched();
void note_launch(void* kernel, dim3 grid, dim3 block, size_t shared_bytes);

/// Runs a kernel, all of its blocks, before returning.
template <class... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Parameters... arguments) {
    note_launch(reinterpret_cast<void*>(kernel), grid, block, shared_bytes);
    auto body = [&] { kernel(arguments...); };
    run_grid(grid, block, shared_bytes, [](void* f) { (*static_cast<decltype(body)*>(f))(); }, &body);
}
}  // namespace emulator

#define threadIdx (::emulator::current->tid)
#define blockIdx (::emulator::current->bid)
#define blockDim (::emulator::current->bdim)
#define gridDim (::emulator::current->gdim)
static constexpr int warpSize = 32;

#define EMU_HERE const char* file = __builtin_FILE(), int line = __builtin_LINE()
inline void __syncthreads(EMU_HERE) { emulator::barrier(0, 0, file, line); }
inline int __syncthreads_count(int p, EMU_HERE) { return (int)emulator::barrier_reduce(p != 0, 0, file, line); }
inline int __syncthreads_and(int p, EMU_HERE) { return (int)emulator::barrier_reduce(p != 0, 1, file, line); }
inline int __syncthreads_or(int p, EMU_HERE) { return (int)emulator::barrier_reduce(p != 0, 2, file, line); }
inline void __syncwarp(unsigned m = 0xffffffffu) {
    int dummy = 0; emulator::warp_collective(m, "__syncwarp", &dummy, [](void* const*, unsigned) {}, true);
}
inline void __threadfence() {} inline void __threadfence_block() {}
inline unsigned __activemask() { return 1u << emulator::current->lane; }  // adversarial but legal
template <class T> T __shfl_sync(unsigned m, T v, int s, int w = 32) {
    int l = (int)emulator::current->lane; return emulator::shfl(m, v, (l & ~(w - 1)) | (s & (w - 1)), "__shfl_sync"); }
template <class T> T __shfl_xor_sync(unsigned m, T v, int x, int w = 32) {
    int l = (int)emulator::current->lane, t = l ^ x; return emulator::shfl(m, v, t < (l & ~(w - 1)) + w ? t : l, "__shfl_xor_sync"); }
template <class T> T __shfl_down_sync(unsigned m, T v, unsigned d, int w = 32) {
    int l = (int)emulator::current->lane, t = l + (int)d; return emulator::shfl(m, v, t < (l & ~(w - 1)) + w ? t : l, "__shfl_down_sync"); }
template <class T> T __shfl_up_sync(unsigned m, T v, unsigned d, int w = 32) {
    int l = (int)emulator::current->lane, t = l - (int)d; return emulator::shfl(m, v, t >= (l & ~(w - 1)) ? t : l, "__shfl_up_sync"); }
#define EMU_VOTE(NAME, RET, EXPR)                                                                          \
    inline RET NAME(unsigned m, int p) {                                                                   \
        return (RET)emulator::vote(m, p != 0, [](void* const a[32], unsigned live) {                            \
            unsigned b = 0; for (int l = 0; l < 32; ++l) if (live >> l & 1) b |= (unsigned)((emulator::VoteArg*)a[l])->in << l; \
            for (int l = 0; l < 32; ++l) if (live >> l & 1) ((emulator::VoteArg*)a[l])->out = (EXPR); }, #NAME); }
EMU_VOTE(__ballot_sync, unsigned, b)
EMU_VOTE(__any_sync, int, b != 0)
EMU_VOTE(__all_sync, int, b == live)
#define EMU_REDUCE(NAME, T, OP)                                                                            \
    inline T NAME(unsigned m, T v) {                                                                       \
        return (T)emulator::vote(m, (uint64_t)v, [](void* const a[32], unsigned live) {                         \
            bool first = true; T r{}; for (int l = 0; l < 32; ++l) if (live >> l & 1) {                    \
                T x = (T)((emulator::VoteArg*)a[l])->in; r = first ? x : (OP); first = false; }                 \
            for (int l = 0; l < 32; ++l) if (live >> l & 1) ((emulator::VoteArg*)a[l])->out = (uint64_t)r; }, #NAME); }
EMU_REDUCE(__reduce_add_sync, unsigned, r + x)
EMU_REDUCE(__reduce_max_sync, unsigned, r > x ? r : x)
EMU_REDUCE(__reduce_min_sync, unsigned, r < x ? r : x)
inline unsigned __match_any_sync(unsigned m, uint64_t v) {
    return (unsigned)emulator::vote(m, v, [](void* const a[32], unsigned live) {
        for (int l = 0; l < 32; ++l) if (live >> l & 1) { unsigned r = 0;
            for (int k = 0; k < 32; ++k) if (live >> k & 1) r |= (unsigned)(((emulator::VoteArg*)a[k])->in == ((emulator::VoteArg*)a[l])->in) << k;
            ((emulator::VoteArg*)a[l])->out = r; } }, "__match_any_sync");
}
template <class T, std::enable_if_t<std::is_integral<T>::value, int> = 0> T atomicAdd(T* p, T v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
template <class T, std::enable_if_t<!std::is_integral<T>::value, int> = 0> T atomicAdd(T* p, T v) {
    return emulator::cas_loop<typename emulator::uint_of<sizeof(T)>::t>(p, [&](T o) { return o + v; }); }
template <class T> T atomicMax(T* p, T v) { return emulator::cas_loop<typename emulator::uint_of<sizeof(T)>::t>(p, [&](T o) { return o > v ? o : v; }); }
template <class T> T atomicMin(T* p, T v) { return emulator::cas_loop<typename emulator::uint_of<sizeof(T)>::t>(p, [&](T o) { return o < v ? o : v; }); }
template <class T> T atomicExch(T* p, T v) { return emulator::cas_loop<typename emulator::uint_of<sizeof(T)>::t>(p, [&](T) { return v; }); }
template <class T> T atomicCAS(T* p, T c, T v) { return emulator::cas_loop<typename emulator::uint_of<sizeof(T)>::t>(p, [&](T o) { return o == c ? v : o; }); }
inline unsigned atomicOr(unsigned* p, unsigned v) { return __atomic_fetch_or(p, v, __ATOMIC_RELAXED); }

template <class T> T __ldg(const T* p) { return *p; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __brev(unsigned x) { unsigned r = 0; for (int i = 0; i < 32; ++i) r |= (x >> i & 1u) << (31 - i); return r; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline unsigned __float_as_uint(float f) { unsigned u; std::memcpy(&u, &f, 4); return u; }
inline float __uint_as_float(unsigned u) { float f; std::memcpy(&f, &u, 4); return f; }
inline float __int_as_float(int u) { float f; std::memcpy(&f, &u, 4); return f; }
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned s) { return (unsigned)((((uint64_t)hi << 32 | lo) << (s & 31)) >> 32); }
template <class T> const T& min(const T& a, const T& b) { return b < a ? b : a; }
template <class T> const T& max(const T& a, const T& b) { return a < b ? b : a; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline void __trap() { emulator::fail("__trap"); }

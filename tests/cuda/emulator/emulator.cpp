// SPDX-License-Identifier: Apache-2.0
// Scheduler of the host emulation. Always compiled WITHOUT sanitizer instrumentation of its own memory
// (under TSan build this file with -fno-sanitize=thread -DFIMO_EMULATE_TSAN; under ASan with -DFIMO_EMULATE_ASAN).
#include "emulator/emulator.h"
#include <cxxabi.h>
#include <dlfcn.h>
#include <sys/mman.h>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>
#ifdef FIMO_EMULATE_TSAN
#include <sanitizer/tsan_interface.h>
extern "C" { void AnnotateIgnoreReadsBegin(const char*, int); void AnnotateIgnoreReadsEnd(const char*, int);
             void AnnotateIgnoreWritesBegin(const char*, int); void AnnotateIgnoreWritesEnd(const char*, int); }
#endif
#ifdef FIMO_EMULATE_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#error "add a context switch for this architecture (or use ucontext)"
#endif
extern "C" void fimo_emulator_switch(void** save_sp, void* load_sp);
asm(R"(
.text
.globl fimo_emulator_switch
.type fimo_emulator_switch,@function
fimo_emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp,(%rdi)
    movq %rsi,%rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size fimo_emulator_switch,.-fimo_emulator_switch
)");
namespace emulator {
Cursor* current = nullptr;
Options options;
enum State : unsigned char { READY, AT_BARRIER, AT_WARP, DONE };
struct CpAsync { void* dst; const void* src; unsigned bytes, src_bytes, group; };
struct Fiber {
    Cursor c; void* sp; char* stack; State st; unsigned bar; int pred, cnt, tot; unsigned wphase; const char* file; int line;
    unsigned wmask; const char* wname; void* wargs; WarpFn wfn;
    std::vector<CpAsync> cp; unsigned cp_group; void* tsan; void* fake;
};
namespace {
constexpr size_t kStack = 128 << 10;
[[maybe_unused]] std::vector<void*> tsan_fibers;
std::vector<char*> stacks;
std::vector<Fiber> fib; unsigned ready[1024]; unsigned nready;      // plain array: libtsan intercepts memmove/malloc
unsigned nthr, alive, waiting[16], phase[16];
void* main_sp; [[maybe_unused]] void *main_tsan, *main_fake; [[maybe_unused]] const void* main_bottom; [[maybe_unused]] size_t main_size;
void (*body_fn)(void*); void* body_ctx; std::exception_ptr error; uint64_t rng;
char bar_tag[16][2], warp_tag[32][2], grid_tag, done_tag;     // addresses for TSan happens-before edges

inline Fiber* self() { return reinterpret_cast<Fiber*>(current); }
void hb_release(void* p) {
#ifdef FIMO_EMULATE_TSAN
    __tsan_release(p);
#else
    (void)p;
#endif
}
void hb_acquire(void* p) {
#ifdef FIMO_EMULATE_TSAN
    __tsan_acquire(p);
#else
    (void)p;
#endif
}
void to_fiber(Fiber& f) {
    current = &f.c;
#ifdef FIMO_EMULATE_TSAN
    __tsan_switch_to_fiber(f.tsan, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef FIMO_EMULATE_ASAN
    __sanitizer_start_switch_fiber(&main_fake, f.stack, kStack);
#endif
    fimo_emulator_switch(&main_sp, f.sp);
#ifdef FIMO_EMULATE_ASAN
    __sanitizer_finish_switch_fiber(main_fake, nullptr, nullptr);
#endif
}
void to_main(bool last = false) {
    Fiber* f = self(); (void)last;
#ifdef FIMO_EMULATE_TSAN
    __tsan_switch_to_fiber(main_tsan, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef FIMO_EMULATE_ASAN
    __sanitizer_start_switch_fiber(last ? nullptr : &f->fake, main_bottom, main_size);
#endif
    fimo_emulator_switch(&f->sp, main_sp);
#ifdef FIMO_EMULATE_ASAN
    __sanitizer_finish_switch_fiber(f->fake, &main_bottom, &main_size);
#endif
}
void make_ready(unsigned i) { fib[i].st = READY; ready[nready++] = i; }
void release_barrier(unsigned id) {
    waiting[id] = 0; phase[id] ^= 1; int cnt = 0, tot = 0; const Fiber* first = nullptr;
    for (unsigned i = 0; i < nthr; ++i) if (fib[i].st == AT_BARRIER && fib[i].bar == id) {
        cnt += fib[i].pred; if (!tot++) first = &fib[i];
        if (first->line != fib[i].line || std::strcmp(first->file ? first->file : "", fib[i].file ? fib[i].file : ""))
            fail(("divergent __syncthreads: thread " + std::to_string(first->c.lin) + " at line " + std::to_string(first->line) + ", thread " +
                  std::to_string(i) + " at line " + std::to_string(fib[i].line)).c_str());
    }
    for (unsigned i = 0; i < nthr; ++i) if (fib[i].st == AT_BARRIER && fib[i].bar == id) { fib[i].cnt = cnt; fib[i].tot = tot; }
    for (unsigned k = 0; k < nthr; ++k) {
        unsigned i = options.sched == Sched::lifo ? k : nthr - 1 - k;
        if (fib[i].st == AT_BARRIER && fib[i].bar == id) make_ready(i);
    }
}
void check_barrier0() { if (alive && waiting[0] == alive) release_barrier(0); }
unsigned exited_mask(unsigned w) {
    unsigned m = 0;
    for (unsigned l = 0; l < 32; ++l) if (w * 32 + l >= nthr || fib[w * 32 + l].st == DONE) m |= 1u << l;
    return m;
}
// If every live lane of `mask` waits at this collective, run it. Returns true if it ran.
bool try_complete(unsigned w, unsigned mask, int me) {
    unsigned live = mask & ~exited_mask(w); void* args[32] = {}; WarpFn fn = nullptr; const char* name = nullptr;
    if (!live) return false;
    for (unsigned l = 0; l < 32; ++l) if (live >> l & 1) {
        Fiber& f = fib[w * 32 + l];
        if (f.st != AT_WARP || f.wmask != mask) return false;
        if (name && std::strcmp(name, f.wname)) fail((std::string("divergent warp collective: ") + name + " vs " + f.wname).c_str());
        name = f.wname; fn = f.wfn; args[l] = f.wargs;
    }
#ifdef FIMO_EMULATE_TSAN      // a collective exchanges registers: it orders no memory and is itself no race
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__); AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
    fn(args, live);
#ifdef FIMO_EMULATE_TSAN
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__); AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
    for (unsigned l = 0; l < 32; ++l) if (live >> l & 1) { if ((int)l == me) fib[w * 32 + l].st = READY; else make_ready(w * 32 + l); }
    return true;
}
void on_exit_fiber() {
    Fiber* f = self(); f->st = DONE; --alive;
    unsigned w = f->c.lin / 32;
    for (unsigned l = 0; l < 32 && w * 32 + l < nthr; ++l) if (fib[w * 32 + l].st == AT_WARP && try_complete(w, fib[w * 32 + l].wmask, -1)) break;
    check_barrier0();
}
void fiber_main() {
#ifdef FIMO_EMULATE_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &main_bottom, &main_size);
#endif
    hb_acquire(&grid_tag);
    try { body_fn(body_ctx); if (!self()->cp.empty()) fail("thread exited with cp.async in flight"); }
    catch (...) { if (!error) error = std::current_exception(); }
    hb_release(&done_tag);
    on_exit_fiber();
    to_main(true);
    std::abort();
}
std::string where(const Fiber& f) {
    char b[160]; std::snprintf(b, sizeof b, "block(%u,%u,%u) thread %u ", f.c.bid.x, f.c.bid.y, f.c.bid.z, f.c.lin);
    std::string s = b;
    if (f.st == AT_BARRIER) s += "waits at barrier " + std::to_string(f.bar);
    else if (f.st == AT_WARP) { std::snprintf(b, sizeof b, "waits at %s(mask=0x%08x)", f.wname, f.wmask); s += b; }
    else s += f.st == DONE ? "exited" : "running";
    return s;
}
void* low_pool() {
    static void* p = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (p == MAP_FAILED) throw Error("emulator: no low memory");
    return p;
}
void parse_env() {
    static bool once = false; if (once) return; once = true;
    if (const char* e = std::getenv("FIMO_EMULATOR_SCHEDULE")) {
        if (!std::strncmp(e, "lifo", 4)) options.sched = Sched::lifo;
        if (!std::strncmp(e, "random", 6)) { options.sched = Sched::random; if (e[6] == ':') options.seed = std::strtoull(e + 7, nullptr, 10); }
    }
}
}  // namespace

void fail(const char* msg) {
    std::string s = "emulator: "; s += msg; if (current) s += " [" + where(*self()) + "]"; throw Error(s);
}
unsigned exited_lanes() { return exited_mask(current->lin / 32); }
void barrier(unsigned id, unsigned count, const char* file, int line) {
    Fiber* f = self(); unsigned ph = phase[id]; f->file = file; f->line = line;
    hb_release(&bar_tag[id][ph]);
    f->st = AT_BARRIER; f->bar = id; ++waiting[id];
    if (id == 0 && count == 0) { if (waiting[0] == alive) { release_barrier(0); } } else if (waiting[id] == count) release_barrier(id);
    to_main();
    hb_acquire(&bar_tag[id][ph]);
}
unsigned barrier_reduce(int p, int op, const char* file, int line) {
    Fiber* f = self(); f->pred = p; barrier(0, 0, file, line); f->pred = 0;
    return op == 0 ? (unsigned)f->cnt : op == 1 ? f->cnt == f->tot : f->cnt != 0;
}
void warp_collective(unsigned mask, const char* name, void* args, WarpFn fn, bool sync_mem) {
    Fiber* f = self(); unsigned w = f->c.lin / 32;
    if (!(mask >> f->c.lane & 1)) fail((std::string(name) + ": calling lane is not in the mask").c_str());
    unsigned ph = f->wphase; if (sync_mem) { f->wphase ^= 1; hb_release(&warp_tag[w][ph]); }
    f->st = AT_WARP; f->wmask = mask; f->wname = name; f->wargs = args; f->wfn = fn;
    if (try_complete(w, mask, (int)f->c.lane)) {
        if (options.sched != Sched::fifo) { make_ready(f->c.lin); to_main(); }   // fifo: run ahead
    } else to_main();
    if (sync_mem) hb_acquire(&warp_tag[w][ph]);
}
void copy_async(void* d, const void* s, unsigned n, unsigned sn) { Fiber* f = self(); f->cp.push_back({d, s, n, sn, f->cp_group}); }
void copy_async_commit() { self()->cp_group++; }
void copy_async_wait(unsigned keep) {
    Fiber* f = self(); size_t k = 0;
    for (auto& c : f->cp) {
        if (c.group + keep < f->cp_group) { std::memcpy(c.dst, c.src, c.src_bytes); std::memset((char*)c.dst + c.src_bytes, 0, c.bytes - c.src_bytes); }
        else f->cp[k++] = c;
    }
    f->cp.resize(k);
}
void run_grid(dim3 g, dim3 b, size_t smem, void (*fn)(void*), void* ctx) {
    parse_env();
    nthr = b.x * b.y * b.z; rng = options.seed * 0x9E3779B97F4A7C15ull + 1;
    if (nthr == 0 || nthr > 1024 || b.z > 64 || g.y > 65535 || g.z > 65535 || !g.x || !g.y || !g.z) throw Error("emulator: invalid launch configuration");
    if (options.check_smem_limit && smem > options.smem_limit) throw Error("emulator: too much dynamic shared memory");
    auto rnd = [&] { rng ^= rng << 13; rng ^= rng >> 7; rng ^= rng << 17; return rng; };
    while (stacks.size() < 2 * nthr) stacks.push_back((char*)mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    fib.resize(nthr); body_fn = fn; body_ctx = ctx; error = nullptr;
#ifdef FIMO_EMULATE_TSAN
    main_tsan = __tsan_get_current_fiber();
    while (tsan_fibers.size() < 2 * nthr) tsan_fibers.push_back(__tsan_create_fiber(0));
#endif
    unsigned long long nblk = 1ull * g.x * g.y * g.z; unsigned char *pool = nullptr, *lowmem = nullptr;
    if (smem && options.low_smem) lowmem = (unsigned char*)low_pool();      // PTX holds shared addresses in 32 bits
#ifdef FIMO_EMULATE_TSAN      // every block its own shared memory, so that races BETWEEN blocks stay visible
    if (smem && nblk * smem > (2ull << 30)) throw Error("emulator: grid too large for a TSan run");
    if (smem) pool = options.low_smem ? (unsigned char*)mmap(nullptr, nblk * smem, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0)
                                      : (unsigned char*)std::calloc(nblk, smem);
    if (pool == MAP_FAILED) throw Error("emulator: no memory for a TSan run");
#endif
    hb_release(&grid_tag);
    for (unsigned long long q = 0; q < nblk; ++q) {
        unsigned long long bi = options.sched == Sched::lifo ? nblk - 1 - q : q;
        uint3 bid{(unsigned)(bi % g.x), (unsigned)(bi / g.x % g.y), (unsigned)(bi / g.x / g.y)};
        unsigned char* sm = nullptr;
        if (pool) sm = pool + q * smem;
        else if (smem) sm = lowmem ? lowmem : (unsigned char*)std::malloc(smem);      // exact size: ASan redzone behind it
        for (size_t i = 0; i < smem; ++i) ((volatile unsigned char*)sm)[i] = 0xFF;  // NaN poison; not memset (intercepted)
        nready = 0; alive = nthr; for (int i = 0; i < 16; ++i) waiting[i] = 0;
        for (unsigned i = 0; i < nthr; ++i) {
            Fiber& f = fib[i];
            f.c = Cursor{{i % b.x, i / b.x % b.y, i / b.x / b.y}, bid, b, g, i, i % 32, sm, smem};
            f.stack = stacks[2 * i]; f.cp.clear(); f.cp_group = 0; f.fake = nullptr; f.pred = 0; f.wphase = 0;
#ifdef FIMO_EMULATE_TSAN      // two sets of TSan fibers (and stacks), used by alternate blocks
            f.stack = stacks[2 * i + q % 2]; f.tsan = tsan_fibers[2 * i + q % 2];
#endif
            void** sp = (void**)(f.stack + kStack); *--sp = nullptr; *--sp = (void*)fiber_main; sp -= 6; f.sp = sp;
        }
        for (unsigned i = 0; i < nthr; ++i) make_ready(options.sched == Sched::lifo ? i : nthr - 1 - i);
        while (nready && !error) {
            // fifo here means "lowest pending slot last in, so thread 0 runs first and as far as it can"
            unsigned k = options.sched == Sched::random ? (unsigned)(rnd() % nready) : nready - 1;
            unsigned i = ready[k]; ready[k] = ready[--nready];
            to_fiber(fib[i]);
        }
        current = nullptr;
        if (alive && !error) {
            std::string s = "emulator: deadlock, " + std::to_string(alive) + " threads blocked:"; int n = 0;
            for (auto& f : fib) if (f.st != DONE && n++ < 4) s += "\n  " + where(f);
            error = std::make_exception_ptr(Error(s));
        }
        if (!pool && sm != lowmem) std::free(sm);
        if (error) break;
    }
    hb_acquire(&done_tag);
    if (pool && options.low_smem) munmap(pool, nblk * smem); else std::free(pool);
    if (error) std::rethrow_exception(error);
}
namespace { std::vector<std::string> names; }
const std::vector<std::string>& launched() { return names; }
void forget_launched() { names.clear(); }
void note_launch(void* kernel, dim3 grid, dim3 block, size_t shared_bytes) {
    Dl_info info;      // programs link with -rdynamic
    std::string name = dladdr(kernel, &info) && info.dli_sname ? info.dli_sname : "?";
    int status = 0;
    if (char* plain = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status)) { name = plain; std::free(plain); }
    if (const size_t end = name.find("(", name.find("fimo::cuda::")); end != std::string::npos) name.resize(end);
    if (const size_t begin = name.find("fimo::cuda::"); begin != std::string::npos) name = name.substr(begin + 12);
    names.push_back(name);
    if (std::getenv("FIMO_EMULATOR_TRACE"))
        std::fprintf(stderr, "%s grid (%u, %u, %u) block (%u, %u, %u) shared %zu\n", name.c_str(), grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes);
}
}  // namespace emulator

// The part of the CUDA runtime that the drivers call: one device, everything done at once.
extern "C" {
cudaError_t cudaGetDevice(int* device) { *device = 0; return cudaSuccess; }
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaMemsetAsync(void* to, int value, size_t count, cudaStream_t) { std::memset(to, value, count); return cudaSuccess; }
const char* cudaGetErrorName(cudaError_t) { return "cudaErrorUnknown"; }
const char* cudaGetErrorString(cudaError_t) { return "unknown error"; }
}

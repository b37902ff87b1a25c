// The barrier that ggml's compute threads meet at after every operation, in place of ggml's own.
//
// ggml's spins until the last thread has come. Where another program has one of the cores, the
// thread that is missing waits for that core until a slice of time is over, and all others keep
// theirs busy meanwhile, several hundred times in a pass. This one spins only as long as a thread
// on its way takes, and then offers its core to whoever waits for one: to the missing thread, if
// that is it.
//
// The CPU backend is a library that is opened at run time, and it calls its barrier by name: the
// executable's own is found first, since it exports one. It reads three counters of ggml's
// pool of threads, which ggml keeps to itself. Whether they are where they are expected is
// checked once with a pool whose numbers are known (`nmos_barrier_install`); until then, and
// where they are not, ggml's own barrier is called.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

// How ggml (of the llama.cpp in the pinned crate) lays out a pool.
enum { CACHE_LINE = 64, THREADS_MASK = 0xffff };

struct ggml_threadpool {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    void * graph;
    void * plan;
    atomic_int n_graph;
    _Alignas(CACHE_LINE) atomic_int n_barrier;
    _Alignas(CACHE_LINE) atomic_int n_barrier_passed;
    _Alignas(CACHE_LINE) atomic_int current_chunk;
    atomic_bool stop;
    atomic_bool pause;
    atomic_int abort;
    void * workers;
    int n_threads;
    int32_t prio;
    uint32_t poll;
};

typedef void (*barrier_fn)(struct ggml_threadpool *);

void ggml_barrier(struct ggml_threadpool * pool);

static atomic_bool fits;
static _Atomic(barrier_fn) ggmls_own;
static atomic_bool called;

// How often a thread looks before it offers its core: some 20 microseconds.
enum { LOOKS = 512 };

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

__attribute__((visibility("default"))) void ggml_barrier(struct ggml_threadpool * pool) {
    atomic_store_explicit(&called, true, memory_order_relaxed);
    if (!atomic_load_explicit(&fits, memory_order_acquire)) {
        const barrier_fn own = atomic_load_explicit(&ggmls_own, memory_order_acquire);
        if (own != NULL) {
            own(pool);
            return;
        }
    }
    const int threads = atomic_load_explicit(&pool->n_graph, memory_order_relaxed) & THREADS_MASK;
    if (threads == 1) {
        return;
    }
    const int passed = atomic_load_explicit(&pool->n_barrier_passed, memory_order_relaxed);
    const int before = atomic_fetch_add_explicit(&pool->n_barrier, 1, memory_order_seq_cst);
    if (before == threads - 1) {
        // The last one: all others wait below, and read nothing but the counter of passages.
        atomic_store_explicit(&pool->n_barrier, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&pool->n_barrier_passed, 1, memory_order_seq_cst);
        return;
    }
    for (int looks = 0;
         atomic_load_explicit(&pool->n_barrier_passed, memory_order_relaxed) == passed; looks++) {
        if (looks < LOOKS) {
            relax();
        } else {
            sched_yield();
        }
    }
    atomic_thread_fence(memory_order_seq_cst);
}

// Takes the place of the barrier of the library that holds `function`, if `pool` is laid out as
// expected: it was made for `threads` threads with this level of polling, and computes nothing.
bool nmos_barrier_install(const struct ggml_threadpool * pool, const void * function, int threads,
                          uint32_t poll) {
    Dl_info info;
    if (dladdr(function, &info) != 0 && info.dli_fname != NULL) {
        void * library = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
        if (library != NULL) {
            // By the library's handle its own is found, not the executable's.
            void * found = dlsym(library, "ggml_barrier");
            barrier_fn own = NULL;
            *(void **)&own = found;
            atomic_store_explicit(&ggmls_own, own, memory_order_release);
            // It stays loaded: the handle is one of several.
            dlclose(library);
        }
    }
    const bool as_expected = pool->n_threads == threads && pool->poll == poll && pool->prio == 0 &&
                             pool->workers != NULL && pool->abort == -1 && pool->n_graph == 0 &&
                             pool->n_barrier == 0 && pool->n_barrier_passed == 0 && pool->pause &&
                             !pool->stop;
    atomic_store_explicit(&fits, as_expected, memory_order_release);
    return as_expected;
}

// Whether any thread has met at this barrier.
bool nmos_barrier_was_called(void) {
    return atomic_load_explicit(&called, memory_order_relaxed);
}

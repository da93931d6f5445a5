// A CUDA driver that computes nothing and checks how it is called; it ends the process at a wrong call.
//
// Copies from pinned memory run when somebody waits for them, as late as on a busy GPU: a block that was written or freed
// before then is a wrong call. Settings: FAIL=NAME makes that function return 999, POOLS=0 means a GPU without memory
// pools, SHORT=N makes allocation N and those after it fail until memory was freed and the pool was trimmed.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long u64;

static int rc(const char *name) {
    const char *fail = getenv("FAIL");
    return fail && !strcmp(fail, name) ? 999 : 0;
}

static void wrong(const char *what) {
    fprintf(stderr, "wrong call of the driver: %s\n", what);
    abort();
}

// Pinned blocks, and the copies from them that wait.
static struct { char *start; size_t bytes; } pinned[4096];
static int blocks;
static struct { const unsigned char *from; size_t bytes; u64 sum; } copies[65536];
static int queued, done;
// Whether a copy from pageable memory, or work that may use freed memory, is waited for.
static int pageable, running;

static u64 sum(const unsigned char *from, size_t bytes) {
    u64 sum = bytes;
    for (size_t i = 0; i < bytes; i++) sum = sum * 31 + from[i];
    return sum;
}

static void run(int end) {
    for (; done < end; done++) {
        if (sum(copies[done % 65536].from, copies[done % 65536].bytes) != copies[done % 65536].sum) {
            wrong("pinned memory was written before its copy");
        }
    }
}

static void send(const void *from, size_t bytes) {
    for (int i = 0; i < blocks; i++) {
        if ((char *)from >= pinned[i].start && (char *)from + bytes <= pinned[i].start + pinned[i].bytes) {
            if (queued - done == 65536) run(queued);
            copies[queued % 65536].from = from;
            copies[queued % 65536].bytes = bytes;
            copies[queued++ % 65536].sum = sum(from, bytes);
            return;
        }
    }
    pageable = 1;
}

static void unpin(void *start) {
    for (int i = 0; i < blocks; i++) {
        if (pinned[i].start == start) {
            if (done < queued) wrong("pinned memory was freed before its copy");
            pinned[i] = pinned[--blocks];
            free(start);
            return;
        }
    }
    wrong("memory was freed that was not pinned");
}

static int without_pools(void) {
    const char *pools = getenv("POOLS");
    return pools && !strcmp(pools, "0");
}

static u64 next = 4096;
static long allocations, freed, trimmed;

static int allocate(u64 *address, size_t bytes) {
    const char *at = getenv("SHORT");
    if (at && ++allocations >= atol(at) && !(freed && trimmed)) return 2;
    *address = next;
    next += (bytes + 255) / 256 * 256;
    return 0;
}

static void release(void) {
    freed++;
    trimmed |= without_pools();
}

#define DO(name, arguments, effect) \
    int name arguments { \
        if (pageable && strcmp(#name, "cuStreamSynchronize") && strcmp(#name, "cuCtxSetCurrent")) { \
            wrong("pageable memory was sent without a wait before " #name); \
        } \
        int code = rc(#name); \
        if (!code) { effect; } \
        return code; \
    }
DO(cuInit, (unsigned f), )
DO(cuDriverGetVersion, (int *v), *v = 12080)
DO(cuDeviceGet, (int *d, int n), *d = n)
DO(cuDeviceGetCount, (int *n), *n = 1)
DO(cuDeviceGetName, (char *s, int n, int d), strcpy(s, "stub"))
DO(cuDeviceGetAttribute, (int *v, int a, int d), *v = a == 75 ? 9 : a == 76 ? 0 : a == 115 ? !without_pools() : 49152)
DO(cuDeviceTotalMem_v2, (size_t *n, int d), *n = 1ull << 34)
DO(cuDeviceGetDefaultMemPool, (void **p, int d), *p = &next)
DO(cuDevicePrimaryCtxRetain, (void **p, int d), *p = &next)
DO(cuCtxSetCurrent, (void *p), )
DO(cuMemPoolSetAttribute, (void *p, int a, void *v), )
DO(cuMemPoolTrimTo, (void *p, size_t n), if (running) wrong("a trim without a wait"); trimmed = 1)
DO(cuMemAllocAsync, (u64 *p, size_t n, void *s), if (without_pools()) wrong("no pools"); code = allocate(p, n))
DO(cuMemFreeAsync, (u64 p, void *s), release())
DO(cuMemAlloc_v2, (u64 *p, size_t n), code = allocate(p, n))
DO(cuMemFree_v2, (u64 p), if (running) wrong("memory was freed under running work"); release())
DO(cuMemHostAlloc, (void **p, size_t n, unsigned f),
   *p = calloc(n, 1); pinned[blocks].start = *p; pinned[blocks++].bytes = n)
DO(cuMemFreeHost, (void *p), unpin(p))
DO(cuMemcpyHtoDAsync_v2, (u64 d, const void *h, size_t n, void *s), send(h, n); running = 1)
DO(cuMemcpyDtoHAsync_v2, (void *h, u64 d, size_t n, void *s), memset(h, 0, n))
DO(cuMemcpyDtoDAsync_v2, (u64 d, u64 f, size_t n, void *s), running = 1)
DO(cuMemsetD8Async, (u64 d, unsigned char v, size_t n, void *s), running = 1)
DO(cuModuleLoadData, (void **p, const void *i), *p = &next)
DO(cuModuleGetFunction, (void **p, void *m, const char *n), *p = &next)
DO(cuLaunchKernel,
   (void *f, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned g, unsigned h, void *s, void **p, void **x),
   running = 1)
DO(cuStreamCreate, (void **p, unsigned f), *p = &next)
DO(cuStreamSynchronize, (void *s), run(queued); pageable = running = 0)
DO(cuStreamDestroy_v2, (void *s), )
DO(cuEventCreate, (void **p, unsigned f), *p = calloc(sizeof(int), 1))
DO(cuEventRecord, (void *e, void *s), *(int *)e = queued)
DO(cuEventQuery, (void *e), code = *(int *)e <= done ? 0 : 600)
DO(cuEventSynchronize, (void *e), run(*(int *)e > done ? *(int *)e : done))
DO(cuEventElapsedTime_v2, (float *t, void *a, void *b), *t = 1)
DO(cuEventDestroy_v2, (void *e), free(e))
int cuGetErrorName(int e, const char **s) { *s = "STUB"; return 0; }
int cuGetErrorString(int e, const char **s) { *s = "made-up text"; return 0; }

struct R { const float* x; float* partial; unsigned* ticket; float* out; int n; };
extern "C" __global__ void reduce_last(R p) {
  extern __shared__ float sm[]; __shared__ bool last; int t = threadIdx.x; float s = 0;
  for (int i = blockIdx.x * blockDim.x + t; i < p.n; i += gridDim.x * blockDim.x) s += p.x[i];
  sm[t] = s; __syncthreads();
  for (int o = blockDim.x / 2; o > 0; o >>= 1) { if (t < o) sm[t] += sm[t + o]; __syncthreads(); }
  if (t == 0) { p.partial[blockIdx.x] = sm[0]; __threadfence(); last = atomicAdd(p.ticket, 1u) == gridDim.x - 1; }
  __syncthreads();
  if (last && t == 0) { __threadfence(); float v = 0; for (int i = 0; i < gridDim.x; ++i) v += p.partial[i]; p.out[0] = v; }
}
struct T { const float* x; float* y; int rows, cols; };
extern "C" __global__ void transpose(T p) {
  __shared__ float tile[32][33]; int c = blockIdx.x * 32 + threadIdx.x, r0 = blockIdx.y * 32;
  for (int i = threadIdx.y; i < 32; i += blockDim.y) if (r0 + i < p.rows && c < p.cols) tile[i][threadIdx.x] = p.x[(r0 + i) * p.cols + c];
  __syncthreads(); int r = r0 + threadIdx.x; int c0 = blockIdx.x * 32;
  for (int i = threadIdx.y; i < 32; i += blockDim.y) if (r < p.rows && c0 + i < p.cols) p.y[(c0 + i) * p.rows + r] = tile[threadIdx.x][i];
}
struct S { const int* index; const float* x; float* y; int n; };
extern "C" __global__ void scatter(S p) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < p.n) atomicAdd(p.y + p.index[i], p.x[i]); }
extern "C" __global__ void scatter_plain(S p) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < p.n) p.y[p.index[i]] += p.x[i]; }
struct M { const float* x; float* y; int n; int mode; };
extern "C" __global__ void maths(M p) {
  int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= p.n) return; float x = p.x[i]; float y = 0;
  switch (p.mode) { case 0: y = 0.5f * x * (1.f + erff(x * 0.70710678f)); break; case 1: y = powf(fabsf(x), 1.7f); break; case 2: y = tanhf(x); break; case 3: y = sinf(x) + cosf(x); break;
    case 4: y = logf(fabsf(x) + 1.f); break; case 5: y = rsqrtf(fabsf(x) + 1.f); break; case 6: y = sqrtf(fabsf(x)); break; case 7: y = log1pf(fabsf(x)); break; case 8: y = expm1f(x); break;
    case 9: y = floorf(x) + ceilf(x) + rintf(x) + truncf(x); break; case 10: y = __expf(x); break; case 11: y = 1.f / (1.f + expf(-x)); break; case 12: y = fmodf(x, 0.3f); break; case 13: y = __fdividef(x, 3.f); break; case 14: y = roundf(x); break; }
  p.y[i] = y; }
struct D { const double* x; double* y; int n; };
extern "C" __global__ void doubles(D p) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= p.n) return; double x = p.x[i]; p.y[i] = exp(-x * x) + log(fabs(x) + 1.0) + sqrt(fabs(x)) / (1.0 + x * x); }
struct DR { float* x; unsigned long long seed; unsigned long long offset; float prob; int n; };
extern "C" __global__ void dropout(DR p) {
  int i = blockIdx.x * blockDim.x + threadIdx.x; if (i * 4 >= p.n) return;
  unsigned c0 = i, c1 = 0, c2 = (unsigned)p.offset, c3 = (unsigned)(p.offset >> 32), k0 = (unsigned)p.seed, k1 = (unsigned)(p.seed >> 32);
  for (int r = 0; r < 10; ++r) { unsigned long long a = (unsigned long long)0xD2511F53u * c0, b = (unsigned long long)0xCD9E8D57u * c2;
    unsigned n0 = (unsigned)(b >> 32) ^ c1 ^ k0, n1 = (unsigned)b, n2 = __umulhi(0xD2511F53u, c0) ^ c3 ^ k1, n3 = (unsigned)a; c0 = n0; c1 = n1; c2 = n2; c3 = n3; k0 += 0x9E3779B9u; k1 += 0xBB67AE85u; }
  unsigned v[4] = {c0, c1, c2, c3};
  for (int j = 0; j < 4; ++j) if (i * 4 + j < p.n) p.x[i * 4 + j] = ((v[j] >> 8) * (1.f / 16777216.f) >= p.prob) ? p.x[i * 4 + j] / (1.f - p.prob) : 0.f;
}
struct I { const int* a; const int* b; int* y; long long* z; int n; };
extern "C" __global__ void ints(I p) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= p.n) return; int a = p.a[i], b = p.b[i]; unsigned ua = a, ub = b;
  int s = a / b + a % b + (int)(ua / ub) - (int)(ua % ub) + __popc(a) + __clz(b) + __brev(a) + __ffs(b) + __mulhi(a, b) + min(a, b) - max(a, b) + abs(a) + (int)__byte_perm(a, b, 0x3175) + __funnelshift_l(a, b, 7) + (a >> 3) + (int)(ua >> 5);
  p.y[i] = s; long long la = (long long)a * b, lb = b; p.z[i] = la / lb + la % 7 + (long long)((unsigned long long)la >> 3) + __popcll(la) + __clzll(lb) + (long long)((float)a * 0.5f) + (int)(double)b; }
struct V { const float* x; unsigned* y; int n; };
extern "C" __global__ void votes(V p) { int i = blockIdx.x * blockDim.x + threadIdx.x; float x = i < p.n ? p.x[i] : 0.f; unsigned b = __ballot_sync(~0u, x > 0); unsigned any = __any_sync(~0u, x > 2.f), all = __all_sync(~0u, x > -5.f); unsigned m = __match_any_sync(~0u, (int)x); unsigned am = 0; if (x > 0) am = __activemask(); unsigned r = __reduce_add_sync(~0u, (unsigned)i); if (i < p.n) p.y[i] = b ^ any ^ (all << 1) ^ m ^ am ^ r; }
__constant__ float table[4] = {1.f, 2.f, 4.f, 8.f}; __device__ int counter = 5;
extern "C" __global__ void local_array(M p) { int i = threadIdx.x; float a[16]; for (int j = 0; j < 16; ++j) a[j] = p.x[(i + j) % p.n] * table[j & 3]; int k = (int)(p.x[i]*4) & 15; a[k] += 3.f; float s = 0; for (int j = 0; j < p.mode; ++j) s += a[(k + j) & 15]; p.y[i] = s; if (i == 0) atomicAdd(&counter, 1); }
extern "C" __global__ void atomics(I p) { int i = threadIdx.x; atomicMax((int*)p.y, p.a[i]); atomicMin((int*)p.y + 1, p.a[i]); atomicAnd(p.y + 2, p.a[i]); atomicOr(p.y + 3, p.a[i]); atomicXor(p.y + 4, p.a[i]); atomicExch(p.y + 5, p.a[i]); atomicCAS(p.y + 6, 0, p.a[i]); atomicAdd((unsigned long long*)p.z, (unsigned long long)p.a[i]); atomicInc((unsigned*)p.y + 7, 100u); atomicAdd((double*)p.z + 1, (double)p.a[i]); __shared__ int s; if (i == 0) s = 0; __syncthreads(); atomicAdd(&s, 1); __syncthreads(); p.y[8] = s;
  unsigned old; asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(old) : "l"(p.y + 9), "r"(1u) : "memory"); asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(old) : "l"(p.y + 9)); asm volatile("st.release.gpu.global.u32 [%0], %1;" :: "l"(p.y + 10), "r"(old)); asm volatile("fence.acq_rel.gpu;"); }

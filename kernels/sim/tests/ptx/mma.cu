typedef unsigned short bf16; typedef unsigned u32;
struct P { const bf16* a; const bf16* b; float* c; int m, n, k; };
__device__ inline u32 smem(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ inline void cp16(u32 d, const void* s, int bytes) { asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(d), "l"(s), "r"(bytes)); }
// C[m,n] = A[m,k] * B[k,n]; 64x64 tile, k step 32, two stages, 128 threads
extern "C" __global__ void __launch_bounds__(128) gemm_bf16(P p) {
  __shared__ __align__(16) bf16 as[2][64][40]; __shared__ __align__(16) bf16 bs[2][32][72];
  int t = threadIdx.x, lane = t & 31, warp = t >> 5; int row0 = blockIdx.y * 64, col0 = blockIdx.x * 64; int wr = (warp >> 1) * 32, wc = (warp & 1) * 32;
  float acc[2][4][4] = {};
  auto load = [&](int st, int k0) {
    for (int i = 0; i < 2; ++i) { int e = t + i * 128; int r = e >> 2, kk = (e & 3) * 8; bool ok = row0 + r < p.m && k0 + kk < p.k; cp16(smem(&as[st][r][kk]), ok ? p.a + (size_t)(row0 + r) * p.k + k0 + kk : p.a, ok ? 16 : 0); }
    for (int i = 0; i < 2; ++i) { int e = t + i * 128; int r = e >> 3, c = (e & 7) * 8; bool ok = k0 + r < p.k && col0 + c < p.n; cp16(smem(&bs[st][r][c]), ok ? p.b + (size_t)(k0 + r) * p.n + col0 + c : p.b, ok ? 16 : 0); }
    asm volatile("cp.async.commit_group;"); };
  int steps = (p.k + 31) / 32; load(0, 0);
  for (int s = 0; s < steps; ++s) { int st = s & 1; if (s + 1 < steps) { load(st ^ 1, (s + 1) * 32); asm volatile("cp.async.wait_group 1;"); } else asm volatile("cp.async.wait_group 0;");
    __syncthreads();
    for (int kk = 0; kk < 32; kk += 16) { u32 a[2][4], b[4][2];
      for (int i = 0; i < 2; ++i) { u32 ad = smem(&as[st][wr + i * 16 + (lane & 15)][kk + (lane >> 4) * 8]); asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(a[i][0]), "=r"(a[i][1]), "=r"(a[i][2]), "=r"(a[i][3]) : "r"(ad)); }
      for (int j = 0; j < 4; ++j) { u32 ad = smem(&bs[st][kk + (lane & 15)][wc + j * 8]); asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(b[j][0]), "=r"(b[j][1]) : "r"(ad)); }
      for (int i = 0; i < 2; ++i) for (int j = 0; j < 4; ++j) asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : "+f"(acc[i][j][0]), "+f"(acc[i][j][1]), "+f"(acc[i][j][2]), "+f"(acc[i][j][3]) : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j][0]), "r"(b[j][1])); }
    __syncthreads(); }
  for (int i = 0; i < 2; ++i) for (int j = 0; j < 4; ++j) for (int e = 0; e < 4; ++e) { int r = row0 + wr + i * 16 + (lane >> 2) + (e >> 1) * 8, c = col0 + wc + j * 8 + (lane & 3) * 2 + (e & 1); if (r < p.m && c < p.n) p.c[(size_t)r * p.n + c] = acc[i][j][e]; }
}

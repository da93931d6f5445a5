struct P { const float* a; const float* b; float* c; int m, n, k; };
// 64x64 tile, 256 threads, 4x4 each, k step 16
extern "C" __global__ void __launch_bounds__(256) sgemm(P p) {
  __shared__ float as[16][68]; __shared__ float bs[16][64];
  int t = threadIdx.x, tx = t & 15, ty = t >> 4; int row0 = blockIdx.y * 64, col0 = blockIdx.x * 64;
  float acc[4][4] = {};
  for (int k0 = 0; k0 < p.k; k0 += 16) {
    { int r = t >> 2, kk = (t & 3) * 4; float4 v = make_float4(0,0,0,0);
      if (row0 + r < p.m) { if (k0 + kk + 3 < p.k && (p.k & 3) == 0) v = *(const float4*)(p.a + (size_t)(row0 + r) * p.k + k0 + kk);
        else { if (k0+kk<p.k) v.x = p.a[(size_t)(row0+r)*p.k+k0+kk]; if (k0+kk+1<p.k) v.y = p.a[(size_t)(row0+r)*p.k+k0+kk+1]; if (k0+kk+2<p.k) v.z = p.a[(size_t)(row0+r)*p.k+k0+kk+2]; if (k0+kk+3<p.k) v.w = p.a[(size_t)(row0+r)*p.k+k0+kk+3]; } }
      as[kk][r] = v.x; as[kk+1][r] = v.y; as[kk+2][r] = v.z; as[kk+3][r] = v.w; }
    for (int i = 0; i < 4; ++i) { int e = t + i * 256; int r = e >> 6, c = e & 63; bs[r][c] = (k0 + r < p.k && col0 + c < p.n) ? p.b[(size_t)(k0 + r) * p.n + col0 + c] : 0.f; }
    __syncthreads();
    #pragma unroll
    for (int kk = 0; kk < 16; ++kk) {
      float4 a = *(float4*)&as[kk][ty * 4]; float4 b = *(float4*)&bs[kk][tx * 4];
      float av[4] = {a.x,a.y,a.z,a.w}, bv[4] = {b.x,b.y,b.z,b.w};
      for (int i = 0; i < 4; ++i) for (int j = 0; j < 4; ++j) acc[i][j] += av[i] * bv[j];
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i) for (int j = 0; j < 4; ++j) { int r = row0 + ty*4+i, c = col0 + tx*4+j; if (r < p.m && c < p.n) p.c[(size_t)r * p.n + c] = acc[i][j]; }
}

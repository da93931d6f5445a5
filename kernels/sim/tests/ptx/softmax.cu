struct P { const float* x; float* y; int rows; int cols; };
extern "C" __global__ void softmax(P p) {
  int row = blockIdx.x; const float* x = p.x + (long long)row * p.cols; float* y = p.y + (long long)row * p.cols;
  __shared__ float part[32];
  float m = -3.4e38f;
  for (int i = threadIdx.x; i < p.cols; i += blockDim.x) m = fmaxf(m, x[i]);
  for (int o = 16; o; o >>= 1) m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, o));
  if ((threadIdx.x & 31) == 0) part[threadIdx.x >> 5] = m;
  __syncthreads();
  m = part[0]; for (int i = 1; i < (blockDim.x >> 5); ++i) m = fmaxf(m, part[i]);
  __syncthreads();
  float s = 0;
  for (int i = threadIdx.x; i < p.cols; i += blockDim.x) s += expf(x[i] - m);
  for (int o = 16; o; o >>= 1) s += __shfl_down_sync(0xffffffffu, s, o);
  if ((threadIdx.x & 31) == 0) part[threadIdx.x >> 5] = s;
  __syncthreads();
  s = 0; for (int i = 0; i < (blockDim.x >> 5); ++i) s += part[i];
  for (int i = threadIdx.x; i < p.cols; i += blockDim.x) y[i] = expf(x[i] - m) / s;
}

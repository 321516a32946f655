#ifndef WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_CONFIG_H_
#define WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_CONFIG_H_

#include <cuda.h>

#include <cstdint>
#include <string>
#include <vector>

namespace fake_cuda {

inline constexpr int kGpusMax = 16;

struct GpuConfig {
  int index = 0;  // on the node; the ordinal may be another (CUDA_VISIBLE_DEVICES)
  CUuuid uuid{};
  std::string name;
  uint64_t memory_bytes = 0;
  bool prohibited = false;
  bool ipc = true;
  bool unified_addressing = true;
  bool read_only_registration = true;
};

// The environment of fake_cuda.h.
struct Config {
  std::vector<GpuConfig> visible;  // by ordinal
  int version = 13000;
  std::string node;
  uint64_t copy_delay_us = 50;
  std::string failures;
};
Config ReadConfig();

}  // namespace fake_cuda

#endif  // WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_CONFIG_H_

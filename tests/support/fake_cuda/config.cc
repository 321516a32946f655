#include "tests/support/fake_cuda/config.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "tests/support/fake_cuda/report.h"
#include "tests/support/fake_cuda/text.h"

namespace fake_cuda {
namespace {

std::string Variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

uint64_t Number(const char* name, uint64_t otherwise) {
  const std::string text = Variable(name, "");
  if (text.empty()) return otherwise;
  const std::optional<uint64_t> value = ParseNumber(text);
  if (!value.has_value()) Report(std::string(name) + ": \"" + text + "\" is no number");
  return value.value_or(otherwise);
}

// Whether the variable's list names the GPU.
bool Listed(const char* name, int index) {
  const std::string text = Variable(name, "");
  for (const std::string_view part : Split(text, ',')) {
    if (ParseNumber(part) == static_cast<uint64_t>(index)) return true;
  }
  return false;
}

CUuuid Uuid(int index) {
  constexpr unsigned char kBytes[16] = {0xfa, 0x4e, 0xc0, 0xda, 0, 0, 0x40, 0, 0x80};
  CUuuid uuid{};
  std::memcpy(uuid.bytes, kBytes, sizeof(kBytes));
  uuid.bytes[15] = static_cast<char>(index);
  return uuid;
}

std::string UuidText(int index) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "GPU-fa4ec0da-0000-4000-8000-0000000000";
  text.push_back(kDigits[index / 16]);
  text.push_back(kDigits[index % 16]);
  return text;
}

std::vector<GpuConfig> NodeGpus() {
  const auto count = static_cast<int>(
      std::min<uint64_t>(Number("WEIGHTD_FAKE_CUDA_DEVICES", 1), static_cast<uint64_t>(kGpusMax)));
  std::vector<GpuConfig> gpus;
  for (int index = 0; index < count; ++index) {
    GpuConfig gpu;
    gpu.index = index;
    gpu.uuid = Uuid(index);
    gpu.name = "Fake GPU (weightd test double)";
    if (Listed("WEIGHTD_FAKE_CUDA_MIG", index)) gpu.name += " MIG 1g.10gb";
    gpu.memory_bytes = Number("WEIGHTD_FAKE_CUDA_MEMORY_BYTES", uint64_t{8} << 30);
    gpu.prohibited = Listed("WEIGHTD_FAKE_CUDA_PROHIBITED", index);
    gpu.ipc = !Listed("WEIGHTD_FAKE_CUDA_NO_IPC", index);
    gpu.unified_addressing = !Listed("WEIGHTD_FAKE_CUDA_NO_UVA", index);
    gpu.read_only_registration = !Listed("WEIGHTD_FAKE_CUDA_NO_READ_ONLY", index);
    gpus.push_back(gpu);
  }
  return gpus;
}

// The GPU that one word of CUDA_VISIBLE_DEVICES names: an ordinal or the beginning of a UUID.
const GpuConfig* Named(const std::vector<GpuConfig>& gpus, std::string_view word) {
  for (const GpuConfig& gpu : gpus) {
    if (ParseNumber(word) == static_cast<uint64_t>(gpu.index)) return &gpu;
    if (word.size() > 4 && UuidText(gpu.index).starts_with(word)) return &gpu;
  }
  return nullptr;
}

}  // namespace

Config ReadConfig() {
  Config config;
  config.version = static_cast<int>(Number("WEIGHTD_FAKE_CUDA_VERSION", 13000));
  config.node = Variable("WEIGHTD_FAKE_CUDA_NODE", "default");
  config.copy_delay_us = Number("WEIGHTD_FAKE_CUDA_COPY_DELAY_US", 50);
  config.failures = Variable("WEIGHTD_FAKE_CUDA_FAIL", "");
  const std::vector<GpuConfig> gpus = NodeGpus();
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible == nullptr) {
    config.visible = gpus;
    return config;
  }
  // As the driver does: the first word that names no GPU ends the list.
  for (const std::string_view word : Split(visible, ',')) {
    const GpuConfig* gpu = Named(gpus, word);
    if (gpu == nullptr) break;
    config.visible.push_back(*gpu);
  }
  return config;
}

}  // namespace fake_cuda

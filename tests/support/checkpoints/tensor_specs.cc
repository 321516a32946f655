#include "tests/support/checkpoints/tensor_specs.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weightd::testing {
namespace {

constexpr uint64_t kGamma = 0x9E3779B97F4A7C15;
constexpr uint64_t kElementBytes = 2;  // BF16

uint64_t Mix(uint64_t x) {
  const uint64_t y = (x ^ (x >> 29)) * 0xBF58476D1CE4E5B9;
  return y ^ (y >> 32);
}

uint64_t Key(uint64_t seed, absl::string_view name) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash ^ Mix(seed);
}

uint64_t Word(uint64_t key, uint64_t index) { return Mix(key + (index + 1) * kGamma); }

// Dimensions of one scaled Llama. A layer has about 13 * hidden^2 parameters, as in the 8B one.
struct LlamaDims {
  uint64_t hidden = 0;
  uint64_t layers = 0;
  uint64_t vocabulary = 0;
  uint64_t key_value() const { return hidden / 4; }
  uint64_t intermediate() const { return hidden * 7 / 2; }
  uint64_t layer_bytes() const {
    return kElementBytes * (2 * hidden * hidden + 2 * hidden * key_value() +
                            3 * hidden * intermediate() + 2 * hidden);
  }
};

LlamaDims ChooseDims(uint64_t total_bytes) {
  LlamaDims dims{.hidden = 4096};
  while (dims.hidden > 64 && dims.layer_bytes() * 8 > total_bytes / 10 * 8) dims.hidden /= 2;
  dims.layers = std::max<uint64_t>(1, total_bytes / 20 * 17 / dims.layer_bytes());
  const uint64_t fixed = dims.layers * dims.layer_bytes() + dims.hidden * kElementBytes;
  const uint64_t row_bytes = 2 * dims.hidden * kElementBytes;  // embedding and head
  dims.vocabulary =
      total_bytes > fixed ? std::max<uint64_t>(1, (total_bytes - fixed) / row_bytes) : 1;
  return dims;
}

}  // namespace

uint64_t SpecBytes(const TensorSpec& spec) { return TensorBytes(spec.dtype, spec.shape).value(); }

uint64_t SpecBytes(absl::Span<const TensorSpec> specs) {
  uint64_t total = 0;
  for (const TensorSpec& spec : specs) total += SpecBytes(spec);
  return total;
}

std::vector<TensorSpec> LlamaSpecs(uint64_t total_bytes) {
  const LlamaDims dims = ChooseDims(total_bytes);
  std::vector<TensorSpec> specs;
  const auto add = [&](std::string name, std::vector<uint64_t> shape) {
    specs.push_back({std::move(name), Dtype::kBf16, std::move(shape)});
  };
  add("model.embed_tokens.weight", {dims.vocabulary, dims.hidden});
  for (uint64_t layer = 0; layer < dims.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    add(prefix + "input_layernorm.weight", {dims.hidden});
    add(prefix + "self_attn.q_proj.weight", {dims.hidden, dims.hidden});
    add(prefix + "self_attn.k_proj.weight", {dims.key_value(), dims.hidden});
    add(prefix + "self_attn.v_proj.weight", {dims.key_value(), dims.hidden});
    add(prefix + "self_attn.o_proj.weight", {dims.hidden, dims.hidden});
    add(prefix + "post_attention_layernorm.weight", {dims.hidden});
    add(prefix + "mlp.gate_proj.weight", {dims.intermediate(), dims.hidden});
    add(prefix + "mlp.up_proj.weight", {dims.intermediate(), dims.hidden});
    add(prefix + "mlp.down_proj.weight", {dims.hidden, dims.intermediate()});
  }
  add("model.norm.weight", {dims.hidden});
  add("lm_head.weight", {dims.vocabulary, dims.hidden});
  return specs;
}

std::vector<TensorSpec> SmallTensorSpecs(uint64_t count, uint64_t total_bytes) {
  const uint64_t elements =
      std::max<uint64_t>(1, total_bytes / std::max<uint64_t>(1, count) / kElementBytes);
  std::vector<TensorSpec> specs;
  specs.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    specs.push_back({absl::StrCat("model.layers.", i / 64, ".experts.", i % 64, ".weight"),
                     Dtype::kBf16,
                     {elements}});
  }
  return specs;
}

std::vector<TensorSpec> SharedDtypeSpecs() {
  std::vector<TensorSpec> specs;
  for (int value = 1; value <= kSafetensorsDtypeCount; ++value) {
    const Dtype dtype = *DtypeFromValue(value);
    if (DtypeBits(dtype) < 8) continue;
    const std::string name(DtypeName(dtype));
    specs.push_back({name + "-scalar", dtype, {}});
    specs.push_back({name + "-empty", dtype, {3, 0, 5}});
    specs.push_back({name + "-matrix", dtype, {3, 7}});
  }
  return specs;
}

void FillTensorBytes(uint64_t seed, absl::string_view name, uint64_t offset,
                     absl::Span<std::byte> out) {
  const uint64_t key = Key(seed, name);
  size_t done = 0;
  const auto copy_part = [&](size_t skip, size_t bytes) {
    const uint64_t word = Word(key, (offset + done) / 8);
    std::memcpy(out.data() + done, reinterpret_cast<const char*>(&word) + skip, bytes);
    done += bytes;
  };
  if (offset % 8 != 0) copy_part(offset % 8, std::min<size_t>(8 - offset % 8, out.size()));
  while (out.size() - done >= 8) copy_part(0, 8);
  if (done < out.size()) copy_part(0, out.size() - done);
}

int64_t FindWrongByte(uint64_t seed, absl::string_view name, uint64_t offset,
                      absl::Span<const std::byte> bytes) {
  std::array<std::byte, 4096> wanted;
  for (size_t done = 0; done < bytes.size();) {
    const size_t part = std::min(bytes.size() - done, wanted.size());
    FillTensorBytes(seed, name, offset + done, absl::MakeSpan(wanted.data(), part));
    if (std::memcmp(wanted.data(), bytes.data() + done, part) != 0) {
      const auto [wrong, ignored] =
          std::mismatch(bytes.begin() + done, bytes.begin() + done + part, wanted.begin());
      return wrong - bytes.begin();
    }
    done += part;
  }
  return -1;
}

}  // namespace weightd::testing

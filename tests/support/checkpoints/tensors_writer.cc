#include "tests/support/checkpoints/tensors_writer.h"

#include <openssl/sha.h>
#include <zlib.h>

#include <array>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/dtype.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/checkpoints/tensors_text.h"

namespace weightd::testing {
namespace {

std::string Opaque(absl::string_view numpy, absl::string_view torch) {
  return absl::StrCat(numpy, absl::string_view("\0", 1), torch);
}

// As formats.md 1.6.2 has them.
std::string DtypeText(Dtype dtype) {
  static const auto* const texts = new std::map<Dtype, std::string>{
      {Dtype::kBool, "|b1"},
      {Dtype::kU8, "|u1"},
      {Dtype::kI8, "|i1"},
      {Dtype::kI16, "<i2"},
      {Dtype::kU16, "<u2"},
      {Dtype::kF16, "<f2"},
      {Dtype::kI32, "<i4"},
      {Dtype::kU32, "<u4"},
      {Dtype::kF32, "<f4"},
      {Dtype::kF64, "<f8"},
      {Dtype::kI64, "<i8"},
      {Dtype::kU64, "<u8"},
      {Dtype::kC64, "<c8"},
      {Dtype::kBf16, Opaque("<V2", "torch.bfloat16")},
      {Dtype::kF8E5M2, Opaque("|V1", "torch.float8_e5m2")},
      {Dtype::kF8E4M3, Opaque("|V1", "torch.float8_e4m3fn")},
      {Dtype::kF8E8M0, Opaque("|V1", "torch.float8_e8m0fnu")},
      {Dtype::kF8E4M3Fnuz, Opaque("|V1", "torch.float8_e4m3fnuz")},
      {Dtype::kF8E5M2Fnuz, Opaque("|V1", "torch.float8_e5m2fnuz")},
  };
  const auto found = texts->find(dtype);
  return found == texts->end() ? "" : found->second;
}

std::string HashBlock(uint32_t crc32, const std::string& sha256) {
  return Hex("29 00 02 00 04") + Le(crc32) + Hex("01 20") + sha256;
}

// Pads the header that will stand at `offset`, then puts in the hashes of header and data.
void Finish(TensorText& tensor, uint64_t offset, uint64_t alignment) {
  tensor.hashes = HashBlock(0, std::string(32, '\0'));
  const uint64_t end = offset + tensor.Header().size();
  tensor.padding.assign((alignment - end % alignment) % alignment, '\0');
  const std::string hashed = tensor.Header() + tensor.data;
  const auto* bytes = reinterpret_cast<const unsigned char*>(hashed.data());
  std::array<unsigned char, SHA256_DIGEST_LENGTH> sha256;
  ::SHA256(bytes, hashed.size(), sha256.data());
  tensor.hashes = HashBlock(static_cast<uint32_t>(::crc32_z(0, bytes, hashed.size())),
                            std::string(sha256.begin(), sha256.end()));
}

}  // namespace

absl::Status WriteTensors(const std::string& path, absl::Span<const TensorSpec> specs,
                          const TensorsOptions& options) {
  std::vector<TensorText> tensors;
  uint64_t index_bytes = 0;
  for (const TensorSpec& spec : specs) {
    TensorText& tensor = tensors.emplace_back();
    tensor.name = spec.name;
    tensor.dtype = DtypeText(spec.dtype);
    if (tensor.dtype.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("no dtype for ", spec.name));
    }
    tensor.shape.assign(spec.shape.begin(), spec.shape.end());
    tensor.data.resize(SpecBytes(spec));
    FillTensorBytes(options.seed, spec.name, 0,
                    {reinterpret_cast<std::byte*>(tensor.data.data()), tensor.data.size()});
    index_bytes += tensor.IndexEntry(0, 0, 0).size();
  }
  uint64_t offset = 73 + (options.has_index ? index_bytes : 16);
  for (TensorText& tensor : tensors) {
    Finish(tensor, offset, options.alignment);
    offset += tensor.Header().size() + tensor.data.size();
  }
  if (options.damaged) tensors.back().data.back() ^= 1;
  const uint32_t version = 2;  // has opaque dtypes
  return WriteRawFile(
      path, options.has_index ? FileText(tensors, version) : FileWithoutIndex(tensors, version));
}

}  // namespace weightd::testing

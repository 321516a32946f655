#include "tests/support/checkpoints/tensors_writer.h"

#include <openssl/sha.h>
#include <sodium.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <map>
#include <stdexcept>
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

constexpr uint64_t kPieceBytes = 65'536;

std::string HashBlock(uint32_t crc32, const std::string& sha256, bool encrypted) {
  if (encrypted) return Hex("23 00 01 01 20") + sha256;
  return Hex("29 00 02 00 04") + Le(crc32) + Hex("01 20") + sha256;
}

std::string Sized(const std::string& text) { return Le(uint64_t{text.size()}) + text; }

std::string DeriveKey(const std::string& password) {
  std::string key(32, '\0');
  const std::string salt(16, 's');
  const int result = ::crypto_pwhash(
      reinterpret_cast<unsigned char*>(key.data()), key.size(), password.data(), password.size(),
      reinterpret_cast<const unsigned char*>(salt.data()), 1, 8192, crypto_pwhash_ALG_ARGON2ID13);
  if (result != 0) throw std::runtime_error("crypto_pwhash");
  return key;
}

// Encrypts the data and puts the crypt block into the header. The block's length does not depend on
// the content of its tags.
void EncryptData(TensorText& tensor, const TensorsOptions& options) {
  const std::string key = options.password.empty() ? options.key : DeriveKey(options.password);
  std::string derivation;
  if (!options.password.empty()) {
    derivation = Sized(Le(uint16_t{1}) + Le(uint16_t{1}) + Le(uint64_t{1}) + Le(uint64_t{8192}) +
                       Le(uint32_t{2}) + Le(uint16_t{16}) + std::string(16, 's'));
  }
  if (tensor.data.empty()) {
    tensor.crypt = Sized(Le(uint16_t{0}));
    return;
  }
  std::string nonce(24, 'n');
  const std::string first_nonce = nonce;
  std::string tags;
  for (size_t at = 0; at < tensor.data.size(); at += kPieceBytes) {
    auto* piece = reinterpret_cast<unsigned char*>(tensor.data.data()) + at;
    const uint64_t bytes = std::min<uint64_t>(kPieceBytes, tensor.data.size() - at);
    std::array<unsigned char, 16> tag;
    (void)::crypto_secretbox_detached(piece, tag.data(), piece, bytes,
                                      reinterpret_cast<const unsigned char*>(nonce.data()),
                                      reinterpret_cast<const unsigned char*>(key.data()));
    tags.append(tag.begin(), tag.end());
    ::sodium_increment(reinterpret_cast<unsigned char*>(nonce.data()), nonce.size());
  }
  const std::string pieces = Sized(Le(uint16_t{2}) + Le(kPieceBytes) + first_nonce +
                                   Le(uint64_t{tags.size() / 16}) + tags);
  const auto chunks = static_cast<uint16_t>(derivation.empty() ? 1 : 2);
  tensor.crypt = Sized(Le(chunks) + derivation + pieces);
}

// Pads the header that will stand at `offset`, puts in the hashes of header and data, and encrypts.
void Finish(TensorText& tensor, uint64_t offset, const TensorsOptions& options) {
  const bool encrypted = !options.key.empty() || !options.password.empty();
  const std::string plain = tensor.data;
  tensor.hashes = HashBlock(0, std::string(32, '\0'), encrypted);
  if (encrypted) EncryptData(tensor, options);
  const uint64_t alignment = options.alignment;
  const uint64_t end = offset + tensor.Header().size();
  tensor.padding.assign((alignment - end % alignment) % alignment, '\0');
  TensorText hashed_tensor = tensor;
  hashed_tensor.crypt.clear();
  std::string hashed = hashed_tensor.Header(tensor.Header().size());
  hashed += plain;
  const auto* bytes = reinterpret_cast<const unsigned char*>(hashed.data());
  std::array<unsigned char, SHA256_DIGEST_LENGTH> sha256;
  ::SHA256(bytes, hashed.size(), sha256.data());
  tensor.hashes = HashBlock(static_cast<uint32_t>(::crc32_z(0, bytes, hashed.size())),
                            std::string(sha256.begin(), sha256.end()), encrypted);
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
    Finish(tensor, offset, options);
    offset += tensor.Header().size() + tensor.data.size();
  }
  if (options.damaged) tensors.back().data.back() ^= 1;
  const bool encrypted = !options.key.empty() || !options.password.empty();
  const uint32_t version = encrypted ? 3 : 2;  // both have opaque dtypes
  return WriteRawFile(
      path, options.has_index ? FileText(tensors, version) : FileWithoutIndex(tensors, version));
}

}  // namespace weightd::testing

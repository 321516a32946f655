#include "tests/unit/staging/test_hashes.h"

#include <openssl/sha.h>
#include <sodium.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace weightd::testing {
namespace {

const std::string kKey(32, 'k');

const unsigned char* Bytes(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

bool IsOfTensorsFile(const Manifest& manifest, const TensorEntry& tensor) {
  return manifest.shards[tensor.shard_index].format == FileFormat::kTensors;
}

}  // namespace

std::string TensorBytesOf(const Manifest& manifest, const ShardContents& contents, size_t index) {
  const TensorEntry& tensor = manifest.tensors[index];
  const ShardEntry& shard = manifest.shards[tensor.shard_index];
  return contents.at(shard.path).substr(shard.data_offset + tensor.offset, tensor.file_bytes());
}

void StoreHashes(const ShardContents& contents, Manifest& manifest) {
  manifest.stored.resize(manifest.tensors.size());
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    const TensorEntry& tensor = manifest.tensors[i];
    if (!IsOfTensorsFile(manifest, tensor)) continue;
    StoredHashes& hashes = manifest.stored[i].hashes;
    hashes.header = absl::StrCat("header of ", tensor.name);
    hashes.header_zeros = 5;
    std::string hashed = hashes.header + std::string(5, '\0');
    for (int shift = 0; shift < 64; shift += 8) {
      hashed.push_back(static_cast<char>(tensor.file_bytes() >> shift & 0xFF));
    }
    hashed += TensorBytesOf(manifest, contents, i);
    hashes.crc32 = static_cast<uint32_t>(::crc32_z(0, Bytes(hashed), hashed.size()));
    std::array<unsigned char, 32> sha256;
    ::SHA256(Bytes(hashed), hashed.size(), sha256.data());
    std::memcpy(hashes.sha256.emplace().data(), sha256.data(), sha256.size());
  }
}

void Encrypt(bool one_piece, Manifest& manifest, ShardContents& contents) {
  manifest.stored.resize(manifest.tensors.size());
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    const TensorEntry& tensor = manifest.tensors[i];
    ShardEntry& shard = manifest.shards[tensor.shard_index];
    if (!IsOfTensorsFile(manifest, tensor)) continue;
    shard.is_encrypted = true;
    if (tensor.file_bytes() == 0) continue;
    TensorEncryption& encryption = manifest.stored[i].encryption.emplace();
    encryption.piece_bytes = one_piece ? tensor.bytes : 1024;
    encryption.nonce[3] = static_cast<std::byte>(i);
    std::array<unsigned char, 24> nonce;
    std::memcpy(nonce.data(), encryption.nonce.data(), nonce.size());
    auto* text = reinterpret_cast<unsigned char*>(contents.at(shard.path).data()) +
                 shard.data_offset + tensor.offset;
    for (uint64_t at = 0; at < tensor.bytes; at += encryption.piece_bytes) {
      const uint64_t bytes = std::min(encryption.piece_bytes, tensor.bytes - at);
      std::array<unsigned char, 16> tag;
      (void)::crypto_secretbox_detached(text + at, tag.data(), text + at, bytes, nonce.data(),
                                        Bytes(kKey));
      std::memcpy(encryption.tags.emplace_back().data(), tag.data(), tag.size());
      ::sodium_increment(nonce.data(), nonce.size());
    }
  }
}

std::shared_ptr<const TensorsSecretKey> TestKey() {
  return *TensorsSecretKey::FromBytes(
      {reinterpret_cast<const std::byte*>(kKey.data()), kKey.size()});
}

}  // namespace weightd::testing

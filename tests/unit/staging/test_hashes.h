#ifndef WEIGHTD_TESTS_UNIT_STAGING_TEST_HASHES_H_
#define WEIGHTD_TESTS_UNIT_STAGING_TEST_HASHES_H_

#include <map>
#include <memory>
#include <string>

#include "daemon/format/manifest.h"
#include "daemon/format/tensor_decryptor.h"

// Hashes and encryption for manifests without files. Thread-safe: pure functions.

namespace weightd::testing {

// By path: a shard's bytes, from the start of its file.
using ShardContents = std::map<std::string, std::string>;

// The tensor's bytes in its file.
std::string TensorBytesOf(const Manifest& manifest, const ShardContents& contents, size_t index);

// Gives every tensor of .tensors shards the CRC32 and SHA-256 of what `contents` has.
void StoreHashes(const ShardContents& contents, Manifest& manifest);

// Encrypts the tensors of .tensors shards in `contents` in pieces of 1 KiB, or in one piece each,
// with TestKey().
void Encrypt(bool one_piece, Manifest& manifest, ShardContents& contents);
std::shared_ptr<const TensorsSecretKey> TestKey();

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_STAGING_TEST_HASHES_H_

#include <zlib.h>

#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/format/tensor_decryptor.h"
#include "daemon/format/tensor_hasher.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/format/parse_tensors.h"

// Files that the real tensorizer library wrote (2.12.1; data/make.py), down to the last hash.

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

std::string Unpacked(const std::string& name) {
  const std::string path = absl::StrCat(WEIGHTD_FORMAT_DATA, "/", name, ".tensors.gz");
  gzFile file = ::gzopen(path.c_str(), "rb");
  EXPECT_NE(file, nullptr) << path;
  std::string bytes;
  std::vector<char> part(1 << 16);
  int got = 0;
  while (file != nullptr && (got = ::gzread(file, part.data(), 1 << 16)) > 0) {
    bytes.append(part.data(), static_cast<size_t>(got));
  }
  ::gzclose(file);
  return bytes;
}

struct RealFile {
  ShardHeader header;
  std::map<std::string, std::string> bytes;  // of each tensor, decrypted
  std::map<std::string, TensorEntry> tensors;
  uint64_t hashes_checked = 0;

  template <typename Element>
  std::vector<Element> Elements(const std::string& name) const {
    std::vector<Element> elements(bytes.at(name).size() / sizeof(Element));
    std::memcpy(elements.data(), bytes.at(name).data(), bytes.at(name).size());
    return elements;
  }
};

// Reads a file whole, and checks every hash in it.
RealFile Read(const std::string& name, std::shared_ptr<const TensorsSecretKey> key = nullptr,
              const std::string& password = "") {
  const std::string file = Unpacked(name);
  RealFile real;
  auto header = ParseTensors(file);
  EXPECT_OK(header);
  if (!header.ok()) return real;
  real.header = *std::move(header);
  if (!password.empty()) {
    key = *TensorsSecretKey::FromPassword(password, *real.header.shard.key_derivation);
  }
  for (size_t i = 0; i < real.header.tensors.size(); ++i) {
    const TensorEntry& tensor = real.header.tensors[i];
    const StoredTensor& stored = real.header.stored[i];
    std::string bytes =
        file.substr(real.header.shard.data_offset + tensor.offset, tensor.file_bytes());
    if (stored.encryption.has_value()) {
      TensorDecryptor decryptor(*stored.encryption, bytes.size(), key);
      EXPECT_OK(decryptor.Decrypt({reinterpret_cast<std::byte*>(bytes.data()), bytes.size()}));
    }
    TensorHasher hasher(VerifyMode::kFull, &stored.hashes, bytes.size());
    hasher.Update(AsBytes(bytes));
    EXPECT_OK(hasher.Check()) << tensor.name;
    real.hashes_checked += hasher.checked();
    real.bytes[tensor.name] = bytes;
    real.tensors[tensor.name] = tensor;
  }
  return real;
}

TEST(RealFilesTest, StateDict) {
  const RealFile file = Read("state_dict");
  EXPECT_THAT(file.tensors, SizeIs(7));
  EXPECT_EQ(file.hashes_checked, 14);
  EXPECT_EQ(file.Elements<float>("layer.weight")[599], 599);
  EXPECT_THAT(file.tensors.at("layer.half").shape, ElementsAre(30, 20));
  EXPECT_EQ(file.tensors.at("layer.half").dtype, Dtype::kF16);
  EXPECT_THAT(file.tensors.at("scalar").shape, SizeIs(0));
  EXPECT_THAT(file.Elements<float>("scalar"), ElementsAre(3.5));
  EXPECT_EQ(file.tensors.at("empty").bytes, 0);
  EXPECT_THAT(file.Elements<int64_t>("i64"), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(file.tensors.at("c64").dtype, Dtype::kC64);
  EXPECT_THAT(file.Elements<float>("c64"), ElementsAre(1, 2, 3, -4));
}

TEST(RealFilesTest, ModuleHasParametersAndBuffers) {
  const RealFile file = Read("module");
  std::map<std::string, TensorKind> kinds;
  for (size_t i = 0; i < file.header.tensors.size(); ++i) {
    kinds[file.header.tensors[i].name] = file.header.stored[i].kind;
  }
  EXPECT_EQ(kinds.at("0.weight"), TensorKind::kParameter);
  EXPECT_EQ(kinds.at("1.running_mean"), TensorKind::kBuffer);
  EXPECT_EQ(kinds.at(".scale"), TensorKind::kBuffer);  // of the root module
}

TEST(RealFilesTest, NestedNames) {
  const RealFile file = Read("nested");
  EXPECT_THAT(file.tensors, SizeIs(2));
  EXPECT_THAT(file.Elements<float>("model.layers.0.w"), ElementsAre(1, 1));
  EXPECT_THAT(file.Elements<float>("model.layers.1.w"), ElementsAre(0, 0));
}

TEST(RealFilesTest, OpaqueDtypes) {
  const RealFile file = Read("opaque");
  EXPECT_EQ(file.tensors.at("bf16").dtype, Dtype::kBf16);
  EXPECT_EQ(file.tensors.at("f8").dtype, Dtype::kF8E4M3);
  EXPECT_EQ(file.tensors.at("c32").dtype, Dtype::kC32);
}

TEST(RealFilesTest, MetaTensor) {
  const RealFile file = Read("meta");
  EXPECT_TRUE(file.tensors.at("meta").is_meta);
  EXPECT_EQ(file.tensors.at("meta").bytes, 24);
  EXPECT_THAT(file.Elements<float>("there"), ElementsAre(1, 1, 1));
}

TEST(RealFilesTest, EncryptedWithAKey) {
  std::string key(32, '\0');
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<char>(i);
  const RealFile file = Read("key", *TensorsSecretKey::FromBytes(AsBytes(key)));
  EXPECT_TRUE(file.header.shard.is_encrypted);
  EXPECT_EQ(file.Elements<float>("w")[1499], 1499);
  EXPECT_EQ(file.hashes_checked, 2);  // such files have SHA-256 alone
}

TEST(RealFilesTest, EncryptedWithAPassword) {
  const RealFile file = Read("password", nullptr, "open sesame");
  EXPECT_EQ(file.Elements<float>("w")[1499], 1499);
}

}  // namespace
}  // namespace weightd::testing

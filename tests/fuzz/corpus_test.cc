#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/fuzz/fuzz_entry.h"

// Runs the fuzzers' entry functions over the committed corpus and over damaged copies of it, so
// that what a fuzzer once found stays fixed under every compiler.

namespace weightd::testing {
namespace {

constexpr int kDamagedCopies = 300;

using Entry = void (*)(const uint8_t*, size_t);

std::vector<std::vector<uint8_t>> ReadCorpus(const std::string& name) {
  std::vector<std::vector<uint8_t>> corpus;
  for (const auto& file :
       std::filesystem::directory_iterator(std::string(WEIGHTD_CORPUS_DIR) + "/" + name)) {
    std::ifstream stream(file.path(), std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  return corpus;
}

// Overwrites, removes or doubles a few bytes.
std::vector<uint8_t> Damage(std::vector<uint8_t> bytes, std::mt19937& random) {
  static constexpr char kInteresting[] = "{}[]\",:0918-.e\\u\xC3\xFF \x01";
  for (uint32_t changes = 1 + random() % 4; changes > 0 && !bytes.empty(); --changes) {
    const auto at = bytes.begin() + static_cast<ptrdiff_t>(random() % bytes.size());
    switch (random() % 3) {
      case 0:
        *at = static_cast<uint8_t>(kInteresting[random() % sizeof(kInteresting)]);
        break;
      case 1:
        bytes.erase(at);
        break;
      default:
        bytes.insert(at, *at);
        break;
    }
  }
  return bytes;
}

void RunCorpus(const std::string& name, Entry entry) {
  const std::vector<std::vector<uint8_t>> corpus = ReadCorpus(name);
  ASSERT_FALSE(corpus.empty());
  std::mt19937 random(1);
  for (const std::vector<uint8_t>& bytes : corpus) {
    entry(bytes.data(), bytes.size());
    for (int i = 0; i < kDamagedCopies; ++i) {
      const std::vector<uint8_t> damaged = Damage(bytes, random);
      entry(damaged.data(), damaged.size());
    }
  }
}

TEST(CorpusTest, ShardHeader) { RunCorpus("safetensors_header", &FuzzSafetensorsHeader); }
TEST(CorpusTest, TensorsFile) { RunCorpus("tensors_file", &FuzzTensorsFile); }
TEST(CorpusTest, SafetensorsIndex) { RunCorpus("safetensors_index", &FuzzSafetensorsIndex); }

}  // namespace
}  // namespace weightd::testing

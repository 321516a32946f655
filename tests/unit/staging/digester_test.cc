#include "daemon/staging/digester.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/support/common/status_matchers.h"
#include "tests/support/executor/simulated_executor.h"
#include "tests/support/storage/memory_volume.h"
#include "tests/unit/staging/test_hashes.h"
#include "tests/unit/staging/test_manifest.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);

absl::Span<const std::byte> AsBytes(const std::string& bytes) {
  return {reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()};
}

// Blocks of random content, handed to a digester.
class DigestRun {
 public:
  DigestRun(Manifest manifest, std::mt19937_64& random)
      : manifest_(std::move(manifest)), random_(random) {
    for (const ShardEntry& shard : manifest_.shards) {
      std::string& content = contents_[shard.path];
      while (content.size() < shard.file_bytes) content.push_back(static_cast<char>(random()));
    }
    layout_ = *PlanLayout(manifest_, LayoutTarget::kDeviceMemory);
  }

  Manifest& manifest() { return manifest_; }
  ShardContents& contents() { return contents_; }
  MemoryVolume& volume() { return volume_; }

  // Of whole files, as they are now. `known` says of which.
  void TakeFileSums(const std::function<bool(uint32_t shard)>& known) {
    for (uint32_t i = 0; i < manifest_.shards.size(); ++i) {
      const std::string& path = manifest_.shards[i].path;
      volume_.AddFile(path, contents_[path]);
      files_.push_back(*volume_.Open(path));
      if (!known(i)) continue;
      Sha256Hasher hasher;
      hasher.Update(AsBytes(contents_[path]));
      sums_.push_back({.shard_index = i, .sha256 = hasher.Finish(), .source = "LIST"});
    }
  }
  std::vector<FileSum>& sums() { return sums_; }

  // Submits the blocks within a window of 4 in any order.
  absl::StatusOr<DigestOutcome> Run(VerifyMode mode, Executor& executor) {
    BlockPlan plan(manifest_, layout_, 4096 << (random_() % 4));
    DigestOptions options = {.mode = mode, .keys = {}, .file_sums = sums_};
    options.keys.assign(manifest_.shards.size(), TestKey());
    Digester digester(manifest_, plan.pieces(), files_, options, executor);
    std::vector<Block> blocks;
    for (auto block = plan.Next(); block.has_value(); block = plan.Next()) {
      if (block->kind != Block::Kind::kZeros) blocks.push_back(*block);
    }
    std::vector<uint64_t> order(blocks.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (size_t i = 0; i < order.size(); i += 4) {
      const auto end = order.begin() + static_cast<ptrdiff_t>(std::min(i + 4, order.size()));
      std::shuffle(order.begin() + static_cast<ptrdiff_t>(i), end, random_);
    }
    std::vector<std::byte> memory(layout_.allocation_bytes);
    size_t reported = 0;
    for (const uint64_t i : order) {
      std::string& content = contents_[manifest_.shards[blocks[i].shard_index].path];
      const absl::Span<std::byte> bytes(reinterpret_cast<std::byte*>(content.data()),
                                        content.size());
      const bool scattered = blocks[i].kind == Block::Kind::kScattered;
      digester.Submit(
          i, blocks[i],
          bytes.subspan(blocks[i].file_offset + blocks[i].skip_bytes, blocks[i].wanted_bytes()),
          scattered ? absl::MakeSpan(memory) : absl::Span<std::byte>(), i);
    }
    absl::Status status;
    while (digester.pending() > 0 && status.ok()) {
      status = digester.Poll(kLong, [&](uint64_t) { ++reported; });
    }
    if (!status.ok()) return status;
    EXPECT_EQ(reported, blocks.size());
    for (const Block& block : blocks) ExpectCopied(plan.pieces(), block, memory);
    return digester.Finish();
  }

 private:
  // A scattered block's tensors are where they belong, decrypted if the file is not.
  void ExpectCopied(const BlockPieces& pieces, const Block& block,
                    absl::Span<const std::byte> memory) {
    if (block.kind != Block::Kind::kScattered) return;
    const std::string& content = contents_[manifest_.shards[block.shard_index].path];
    pieces.ForEach(block, [&](const BlockPiece& piece) {
      const uint64_t from = block.file_offset + block.skip_bytes + piece.block_offset;
      EXPECT_EQ(std::memcmp(memory.data() + piece.destination, content.data() + from, piece.bytes),
                0)
          << "tensor " << piece.tensor_index << " at " << piece.tensor_offset;
    });
  }

  Manifest manifest_;
  std::mt19937_64& random_;
  ShardContents contents_;
  Layout layout_;
  MemoryVolume volume_;
  std::vector<std::shared_ptr<File>> files_;  // only where sums are known
  std::vector<FileSum> sums_;
};

// By turns: a thread does the work, and whoever submits where no thread can be had.
Executor& ExecutorOf(int round) {
  static SimulatedExecutor& without_threads = *[] {
    auto* executor = new SimulatedExecutor([](uint64_t) { return 0; });
    executor->set_start_fault([] { return absl::ResourceExhaustedError("no more threads"); });
    return executor;
  }();
  if (round % 2 == 0) return without_threads;
  return ThreadExecutor::Get();
}

TensorDigest DigestOf(const std::string& bytes) {
  TensorHasher hasher(VerifyMode::kFast, nullptr, bytes.size());
  hasher.Update(AsBytes(bytes));
  return hasher.digest();
}

TEST(DigesterTest, DigestsEveryTensorWhateverTheOrderOfBlocks) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    DigestRun run(RandomManifest(random, 60'000), random);
    StoreHashes(run.contents(), run.manifest());
    const VerifyMode mode = round % 3 == 0 ? VerifyMode::kFull : VerifyMode::kFast;
    ASSERT_OK_AND_ASSIGN(const DigestOutcome outcome, run.Run(mode, ExecutorOf(round)));
    ASSERT_EQ(outcome.digests.size(), run.manifest().tensors.size());
    uint64_t stored = 0;
    for (size_t i = 0; i < outcome.digests.size(); ++i) {
      const TensorEntry& tensor = run.manifest().tensors[i];
      const std::string bytes = tensor.is_meta ? std::string(tensor.bytes, '\0')
                                               : TensorBytesOf(run.manifest(), run.contents(), i);
      ASSERT_EQ(outcome.digests[i], DigestOf(bytes)) << tensor.name;
      if (run.manifest().stored[i].hashes.any()) ++stored;
    }
    EXPECT_EQ(outcome.hashes_checked, stored * (mode == VerifyMode::kFull ? 2 : 1));
  }
}

Manifest TwoTensors() {
  Manifest manifest;
  AddTensorsShard(manifest, 1000, 100, {{Dtype::kU8, 9000}, {Dtype::kU8, 20'000}});
  return manifest;
}

TEST(DigesterTest, SaysWhichTensorDiffersAndWhere) {
  std::mt19937_64 random(6);
  for (int round = 0; round < 2; ++round) {
    DigestRun run(TwoTensors(), random);
    StoreHashes(run.contents(), run.manifest());
    run.contents()["shard-0.tensors"][1000 + 9000 + 100 + 19'999] ^= 1;
    EXPECT_THAT(run.Run(VerifyMode::kFast, ExecutorOf(round)).status(),
                ReasonIs(Reason::kIntegrityFailed,
                         AllOf(HasSubstr("verify shard-0.tensors: tensor \"t0.1\" at 10100"),
                               HasSubstr("CRC32"))));
    // Only what was asked for is looked at.
    for (StoredTensor& stored : run.manifest().stored) stored.hashes.crc32.reset();
    EXPECT_OK(run.Run(VerifyMode::kFast, ExecutorOf(round)));
    EXPECT_THAT(run.Run(VerifyMode::kFull, ExecutorOf(round)).status(),
                ReasonIs(Reason::kIntegrityFailed, HasSubstr("SHA-256")));
  }
}

TEST(DigesterTest, EmptyTensorsHaveHashesToo) {
  std::mt19937_64 random(6);
  Manifest manifest;
  AddTensorsShard(manifest, 1000, 100, {{Dtype::kU8, 100}, {Dtype::kU8, 0}});
  DigestRun run(manifest, random);
  StoreHashes(run.contents(), run.manifest());
  EXPECT_OK(run.Run(VerifyMode::kFast, ThreadExecutor::Get()));
  *run.manifest().stored[1].hashes.crc32 ^= 1;
  EXPECT_THAT(run.Run(VerifyMode::kFast, ThreadExecutor::Get()).status(),
              ReasonIs(Reason::kIntegrityFailed, HasSubstr("t0.1")));
}

TEST(DigesterTest, DecryptsWhereTheBytesStand) {
  std::mt19937_64 random(8);
  for (int round = 0; round < 60; ++round) {
    DigestRun run(RandomManifest(random, 60'000), random);
    StoreHashes(run.contents(), run.manifest());
    const ShardContents plain = run.contents();
    Encrypt(round % 2 == 0, run.manifest(), run.contents());
    const VerifyMode mode = round % 3 == 0 ? VerifyMode::kNone : VerifyMode::kFull;
    ASSERT_OK(run.Run(mode, ExecutorOf(round)));
    EXPECT_EQ(run.contents() == plain, true) << round;
  }
}

TEST(DigesterTest, ChangedCiphertextIsFoundWithoutAnyHash) {
  std::mt19937_64 random(9);
  DigestRun run(TwoTensors(), random);
  Encrypt(false, run.manifest(), run.contents());
  run.contents()["shard-0.tensors"][1000 + 8999] ^= 1;
  EXPECT_THAT(run.Run(VerifyMode::kNone, ThreadExecutor::Get()).status(),
              ReasonIs(Reason::kIntegrityFailed, HasSubstr("does not decrypt")));
}

TEST(DigesterTest, ComparesWholeFiles) {
  std::mt19937_64 random(10);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    DigestRun run(RandomManifest(random, 60'000), random);
    StoreHashes(run.contents(), run.manifest());
    if (round % 4 == 0) Encrypt(false, run.manifest(), run.contents());
    run.TakeFileSums([&](uint32_t) { return random() % 3 != 0; });
    ASSERT_OK_AND_ASSIGN(const DigestOutcome outcome,
                         run.Run(VerifyMode::kFull, ExecutorOf(round)));
    EXPECT_EQ(outcome.files_checked, run.sums().size());
    if (run.sums().empty()) continue;
    FileSum& wrong = run.sums()[random() % run.sums().size()];
    wrong.sha256[random() % wrong.sha256.size()] ^= std::byte{1};
    if (round % 4 == 0) continue;  // decrypted in place meanwhile
    EXPECT_THAT(run.Run(VerifyMode::kFull, ExecutorOf(round)).status(),
                ReasonIs(Reason::kIntegrityFailed,
                         AllOf(HasSubstr(run.manifest().shards[wrong.shard_index].path),
                               HasSubstr("its SHA-256 is"), HasSubstr("LIST says"))));
  }
}

// Neither is seen by those who look at tensors alone.
TEST(DigesterTest, BytesBeforeAndBehindTheDataCountInWholeFiles) {
  std::mt19937_64 random(11);
  for (const bool at_end : {false, true}) {
    DigestRun run(TwoTensors(), random);
    const std::string path = run.manifest().shards[0].path;
    run.contents()[path] += "tail";
    run.manifest().shards[0].file_bytes += 4;
    run.TakeFileSums([](uint32_t) { return true; });
    ASSERT_OK(run.Run(VerifyMode::kFull, ThreadExecutor::Get()));
    run.volume().Write(path, at_end ? run.contents()[path].size() - 1 : 0, "\xff");
    EXPECT_THAT(run.Run(VerifyMode::kFull, ThreadExecutor::Get()).status(),
                ReasonIs(Reason::kIntegrityFailed, HasSubstr("LIST says")));
  }
}

TEST(DigesterTest, FileThatCannotBeReadAgainIsAnError) {
  std::mt19937_64 random(12);
  DigestRun run(TwoTensors(), random);
  run.TakeFileSums([](uint32_t) { return true; });
  run.volume().FailReads(run.manifest().shards[0].path, EIO);
  EXPECT_THAT(run.Run(VerifyMode::kFull, ThreadExecutor::Get()).status(),
              ReasonIs(Reason::kReadFailed, HasSubstr("shard-0.tensors")));
}

// A frontier that never comes, as after a failed read: nothing hangs.
TEST(DigesterTest, EndsWithBlocksThatWait) {
  Manifest manifest = TwoTensors();
  const Layout layout = *PlanLayout(manifest, LayoutTarget::kDeviceMemory);
  BlockPlan plan(manifest, layout, 4096);
  (void)plan.Next();
  const Block second = *plan.Next();
  std::vector<std::byte> bytes(second.wanted_bytes());
  Digester digester(manifest, plan.pieces(), {},
                    {.mode = VerifyMode::kFast, .keys = {}, .file_sums = {}},
                    ThreadExecutor::Get());
  digester.Submit(1, second, absl::MakeSpan(bytes), {}, 7);
  EXPECT_OK(digester.Poll(absl::ZeroDuration(), [](uint64_t) { FAIL(); }));
  EXPECT_EQ(digester.pending(), 1);
}

}  // namespace
}  // namespace weightd::testing

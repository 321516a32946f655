#include "daemon/storage/guarded_volume.h"

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "common/errors.h"
#include "daemon/storage/descriptor_budget.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/storage/hanging_volume.h"
#include "tests/support/storage/memory_volume.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;

class GuardedVolumeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    memory_->AddFile("a", std::string(16, 'a'));
    auto threads =
        VolumeThreads::Create("/memory", {.threads = 2, .stall_timeout = absl::Milliseconds(50)});
    ASSERT_OK(threads);
    volume_ = std::make_shared<GuardedVolume>(std::make_shared<HangingVolume>(memory_, gate_),
                                              FileSystemKind::kLocal, *std::move(threads));
  }

  std::shared_ptr<MemoryVolume> memory_ = std::make_shared<MemoryVolume>();
  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  std::shared_ptr<GuardedVolume> volume_;
};

TEST_F(GuardedVolumeTest, EveryCallOfAVolumeThatHangsEndsInTime) {
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<File> file, volume_->Open("a"));
  gate_->Hang();
  EXPECT_THAT(volume_->List("d", 10), ReasonIs(Reason::kVolumeStuck, HasSubstr("list d")));
  EXPECT_THAT(volume_->Stat("a"), ReasonIs(Reason::kVolumeStuck, HasSubstr("stat a")));
  // Both threads are stuck now: refused at once.
  EXPECT_THAT(volume_->Open("a"), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("list d")));
  std::array<std::byte, 8> buffer{};
  EXPECT_THAT(file->ReadAt(0, absl::MakeSpan(buffer)), ReasonIs(Reason::kVolumeStuck, _));
  EXPECT_THAT(file->CheckUnchanged(), ReasonIs(Reason::kVolumeStuck, _));
  EXPECT_EQ(file->identity().size_bytes, 16u);
}

TEST_F(GuardedVolumeTest, ALateReadDoesNotTouchTheCallersMemory) {
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<File> file, volume_->Open("a"));
  gate_->Hang();
  std::array<std::byte, 8> buffer{};
  EXPECT_THAT(file->ReadAt(0, absl::MakeSpan(buffer)), ReasonIs(Reason::kVolumeStuck, _));
  const uint64_t passed = gate_->passed();
  gate_->Release();
  while (gate_->passed() == passed) {
  }
  EXPECT_OK(volume_->Stat("a"));
  EXPECT_EQ(buffer[0], std::byte{0});
}

TEST_F(GuardedVolumeTest, AUseOfAFileThatCannotBeOpenedIsToldInTime) {
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<File> file, volume_->Open("a"));
  gate_->Hang();
  const std::unique_ptr<FileUse> use = file->Use();
  absl::StatusOr<bool> ready = use->Ready();
  ASSERT_OK(ready);
  EXPECT_FALSE(*ready);
  while (ready.ok() && !*ready) ready = use->Ready();
  EXPECT_THAT(ready, ReasonIs(Reason::kVolumeStuck, HasSubstr("open a")));
}

// On real files: descriptors come and go with the uses.
class FileUseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"a", "b"}) std::ofstream(dir_.File(name)) << std::string(16, 'x');
    auto volume = OpenVolume(dir_.path(), budget_);
    ASSERT_OK(volume);
    volume_ = *std::move(volume);
  }
  static std::string ReadAll(const File& file) {
    std::string text(file.identity().size_bytes, '\0');
    EXPECT_OK(
        file.ReadAt(0, absl::MakeSpan(reinterpret_cast<std::byte*>(text.data()), text.size())));
    return text;
  }

  TempDir dir_;
  std::shared_ptr<DescriptorBudget> budget_ = std::make_shared<DescriptorBudget>(2, 1024);
  std::unique_ptr<Volume> volume_;
};

TEST_F(FileUseTest, AFileIsOpenUntilItsFirstUseEndsAndThenWhileItIsUsed) {
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<File> file, volume_->Open("a"));
  EXPECT_GE(file->descriptor(ReadMode::kBuffered), 0);
  std::unique_ptr<FileUse> use = file->Use();
  EXPECT_TRUE(use->Ready().value());
  use.reset();
  EXPECT_EQ(file->descriptor(ReadMode::kBuffered), -1);
  EXPECT_EQ(budget_->in_use(), 0u);
  EXPECT_FALSE(file->LookInCache(0, 16).known);
  EXPECT_EQ(ReadAll(*file), std::string(16, 'x'));
  EXPECT_EQ(budget_->in_use(), 0u);
  use = file->Use();
  const std::unique_ptr<FileUse> second = file->Use();
  EXPECT_TRUE(use->Ready().value());
  EXPECT_TRUE(second->Ready().value());
  use.reset();
  EXPECT_GE(file->descriptor(ReadMode::kBuffered), 0);
}

TEST_F(FileUseTest, WhatWasReplacedWhileItWasClosedIsNotOpened) {
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<File> file, volume_->Open("a"));
  EXPECT_TRUE(file->Use()->Ready().value());
  std::filesystem::rename(dir_.File("b"), dir_.File("a"));
  EXPECT_THAT(file->Use()->Ready(), ReasonIs(Reason::kCheckpointChanged, HasSubstr("inode")));
  std::filesystem::remove(dir_.File("a"));
  EXPECT_THAT(file->Use()->Ready(), ReasonIs(Reason::kCheckpointChanged, _));
  EXPECT_EQ(budget_->in_use(), 0u);
}

TEST_F(FileUseTest, AUseWaitsForDescriptorsThatOthersHave) {
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<File> first, volume_->Open("a"));
  EXPECT_TRUE(first->Use()->Ready().value());
  ASSERT_OK_AND_ASSIGN(std::shared_ptr<File> second, volume_->Open("b"));
  EXPECT_GT(budget_->in_use(), 0u);
  if (second->direct_alignment() == 0) GTEST_SKIP() << "one descriptor is enough here";
  const std::unique_ptr<FileUse> use = first->Use();
  EXPECT_FALSE(use->Ready().value());
  second.reset();
  EXPECT_TRUE(use->Ready().value());
}

TEST(DescriptorBudgetTest, NamesTheLimitAndHowToRaiseIt) {
  const auto budget = std::make_shared<DescriptorBudget>(2, 1024);
  std::optional<DescriptorBudget::Lease> lease = budget->TryTake(2, {});
  ASSERT_TRUE(lease.has_value());
  EXPECT_FALSE(budget->TryTake(1, {}).has_value());
  EXPECT_THAT(budget->Take(1, {}, absl::ZeroDuration(), "open a"),
              AllOf(StatusIs(absl::StatusCode::kResourceExhausted,
                             AllOf(HasSubstr("open a"), HasSubstr("1024"), HasSubstr("LimitNOFILE"),
                                   HasSubstr("ulimit -n"))),
                    ReasonIs(Reason::kLimitExceeded, _)));
  lease.reset();
  EXPECT_TRUE(budget->TryTake(2, {}).has_value());
  EXPECT_EQ(budget->in_use(), 0u);
}

// A volume that hangs keeps what its files have.
TEST(DescriptorBudgetTest, OneVolumeHasHalfOfWhatOthersLeave) {
  const auto budget = std::make_shared<DescriptorBudget>(64, 1024);
  std::vector<DescriptorBudget::Lease> kept;
  const auto take_all = [&](const std::set<uint64_t>& volumes) {
    size_t files = 0;
    while (auto lease = budget->TryTake(2, {.volumes = volumes})) {
      kept.push_back(*std::move(lease));
      ++files;
    }
    return files;
  };
  EXPECT_EQ(take_all({1}), 8u);
  EXPECT_EQ(take_all({2}), 6u);
  EXPECT_EQ(take_all({1, 2}), 4u);
  EXPECT_EQ(take_all({}), 3u);
  EXPECT_EQ(take_all({3}), 2u);
  EXPECT_THAT(budget->Take(2, {.volumes = {1}}, absl::ZeroDuration(), "open a"),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("of one volume, half of them")));
  kept.clear();
  EXPECT_EQ(budget->in_use(), 0u);
  EXPECT_EQ(take_all({3}), 8u);
}

// Whose files a slow volume is long in closing leaves others of it theirs.
TEST(DescriptorBudgetTest, OneUserHasHalfOfWhatOthersOfTheVolumeLeave) {
  const auto budget = std::make_shared<DescriptorBudget>(64, 1024);
  std::vector<DescriptorBudget::Lease> kept;
  const auto take_all = [&](const VolumeLane& lane) {
    size_t files = 0;
    while (auto lease = budget->TryTake(2, lane)) {
      kept.push_back(*std::move(lease));
      ++files;
    }
    return files;
  };
  EXPECT_EQ(take_all({.volumes = {1}, .uid = 1000}), 8u);
  EXPECT_EQ(take_all({.volumes = {1}, .uid = 1001}), 4u);
  EXPECT_EQ(take_all({.volumes = {1}}), 2u) << "the daemon is as one of them";
  EXPECT_EQ(take_all({.volumes = {2}, .uid = 1000}), 4u);
  kept.clear();
  EXPECT_EQ(take_all({.volumes = {1}}), 8u);
  kept.clear();
  EXPECT_EQ(budget->in_use(), 0u);
}

// A stage opens a file for each read of it: for whoever opened it first, and where others waste
// what he may have, of the daemon's.
TEST(DescriptorBudgetTest, FilesInUseCountForWhoOpenedThem) {
  const TempDir dir;
  const auto budget = std::make_shared<DescriptorBudget>(64, 1024);
  ASSERT_OK_AND_ASSIGN(std::shared_ptr<Volume> raw, OpenVolume(dir.path(), budget));
  std::ofstream(dir.File("f")) << "content";
  ASSERT_OK_AND_ASSIGN(const PathFacts facts, raw->Stat("f"));
  const std::set<uint64_t> volumes = {facts.identity.device};
  ASSERT_OK_AND_ASSIGN(const auto threads, VolumeThreads::Create(dir.path(), {}));
  using FilePtr = std::shared_ptr<File>;
  ASSERT_OK_AND_ASSIGN(FilePtr file, threads->Call<FilePtr>(VolumeWork("open f", volumes, 1000),
                                                            [raw] { return raw->Open("f"); }));
  const VolumeLane lane = {.volumes = volumes, .uid = 1000};
  std::vector<DescriptorBudget::Lease> kept;
  const auto keep_all = [&] {
    while (auto lease = budget->TryTake(1, lane)) kept.push_back(*std::move(lease));
    return kept.size();
  };
  auto use = file->Use();
  ASSERT_EQ(use->Ready().value_or(false), true);
  const uint32_t in_use = budget->in_use();
  EXPECT_GE(in_use, 1u);
  EXPECT_EQ(keep_all() + in_use, 16u) << "half of his volume's half";
  use = file->Use();  // closes it
  EXPECT_EQ(keep_all(), 16u);
  EXPECT_EQ(use->Ready().value_or(false), true);
  EXPECT_EQ(budget->in_use(), 16u + in_use);
}

TEST(DescriptorBudgetTest, TakesAShareOfWhatTheProcessMayHave) {
  const auto budget = DescriptorBudget::ForThisProcess();
  EXPECT_GE(budget->max(), 8u);
  EXPECT_LE(budget->max(), 4096u);
}

}  // namespace
}  // namespace weightd::testing

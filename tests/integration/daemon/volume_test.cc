// Roots that hang, come late, lead elsewhere or hold too much, with real processes.

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/programs.h"
#include "tests/support/process/wait_until.h"
#include "tests/support/storage/fuse_volume.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class HungRootTest : public DaemonTest {
 protected:
  // The root of all tests, and one of FUSE with the model h.
  void StartWithFuse() {
    const TempDir made;
    ASSERT_OK(WriteSafetensors(made.File("h.safetensors"), {{"a", Dtype::kU8, {4 << 20}}}, {}));
    auto fuse = FuseVolume::Mount({{"h.safetensors", ReadWhole(made.File("h.safetensors"))}});
    if (!fuse.ok()) GTEST_SKIP() << fuse.status();
    fuse_ = *std::move(fuse);
    MakeModel("good", 1 << 20);
    MakeModel("other", 1 << 20);
    Start({"--root", fuse_->root(), "--storage.stall-timeout-ms", "1000", "--drain-grace-ms", "500",
           "--catalog.scan-interval-ms", "1000"});
    Stage("good");
    EXPECT_THAT(ctl_.Run({"ls"}).out, HasSubstr("h "));
  }
  static std::string ReadWhole(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  std::unique_ptr<FuseVolume> fuse_;
};

TEST_F(HungRootTest, WithoutLookupsEverythingElseGoesOnAndTheDaemonEnds) {
  StartWithFuse();
  if (fuse_ == nullptr) return;
  const auto holder = Attach("good");
  fuse_->HangLookups();
  // From the last look, which is told, too.
  const CommandResult listed = ctl_.Run({"ls"});
  EXPECT_EQ(listed.exit_code, kExitOk) << listed;
  EXPECT_THAT(listed.out, AllOf(HasSubstr("good"), HasSubstr("h ")));
  const CommandResult staged = ctl_.Run({"stage", "h", "--wait"});
  EXPECT_NE(staged.exit_code, kExitOk);
  EXPECT_THAT(staged.err, AllOf(HasSubstr(fuse_->root()), HasSubstr("the volume hangs")));
  Stage("other");
  EXPECT_EQ(ctl_.Run({"evict", "other"}).exit_code, kExitOk);
  // Resident, and told without the volume.
  EXPECT_EQ(ctl_.Run({"describe", "good"}).exit_code, kExitOk);
  EXPECT_THAT(ctl_.Run({"describe", "not/there"}).err, HasSubstr("no such checkpoint"));
  EXPECT_THAT(ctl_.Run({"status"}).out,
              AllOf(HasSubstr(fuse_->root()), HasSubstr("the volume does not answer")));
  EXPECT_THAT(ctl_.Run({"ls"}).err, HasSubstr("the volume does not answer"));
  EXPECT_THAT(ctl_.Run({"doctor"}).out, HasSubstr("stuck: "));
  daemon_->Signal(SIGTERM);
  // Though a call of the kernel hangs that nothing can end.
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, daemon_->pid(), 0)));
  pollfd ended{process.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 20'000), 1);
  fuse_->Answer();
  EXPECT_EQ(daemon_->WaitForExit(), std::optional(0));
}

// What the kernel does not let go of keeps neither the lock, nor the sockets, nor a model's memory.
TEST_F(HungRootTest, TheNextDaemonStartsThoughReadsStillHang) {
  StartWithFuse();
  if (fuse_ == nullptr) return;
  fuse_->HangReads(1 << 20);
  EXPECT_NE(ctl_.Run({"stage", "h", "--wait"}).exit_code, kExitOk);
  daemon_->Signal(SIGTERM);
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, daemon_->pid(), 0)));
  pollfd ended{process.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 20'000), 1);
  DaemonProcess next({.root = root_, .socket_dir = socket_dir_, .flags = {}});
  EXPECT_TRUE(next.WaitForLog("serving")) << next.log();
  EXPECT_EQ(ctl_.Run({"stage", "good", "--wait"}).exit_code, kExitOk);
  fuse_->Answer();
}

TEST_F(HungRootTest, ItIsUsedAgainWhenItAnswers) {
  StartWithFuse();
  if (fuse_ == nullptr) return;
  fuse_->HangLookups();
  EXPECT_NE(ctl_.Run({"stage", "h", "--wait"}).exit_code, kExitOk);
  fuse_->Answer();
  EXPECT_TRUE(WaitUntil([&] { return ctl_.Run({"stage", "h", "--wait"}).exit_code == kExitOk; }));
  EXPECT_TRUE(WaitUntil(
      [&] { return ctl_.Run({"status"}).out.find("does not answer") == std::string::npos; }));
}

class RootTest : public DaemonTest {};

TEST_F(RootTest, OneThatIsNotThereIsServedWhenItComes) {
  const std::string late = dir_.File("late");
  MakeModel("good", 1 << 20);
  Start({"--root", late, "--catalog.scan-interval-ms", "1000"});
  Stage("good");
  EXPECT_THAT(ctl_.Run({"status"}).out, AllOf(HasSubstr(late), HasSubstr("is not there")));
  fs::create_directory(late);
  ASSERT_OK(WriteSafetensors(late + "/m/model.safetensors", {{"a", Dtype::kU8, {4096}}}, {}));
  Stage("m");
  EXPECT_TRUE(daemon_->WaitForLog("root_reopened"));
  EXPECT_THAT(ctl_.Run({"status"}).out, Not(HasSubstr("is not there")));
}

TEST_F(RootTest, ALinkThatIsSwitchedIsFollowed) {
  for (const char* model : {"v1/old", "v2/new"}) {
    ASSERT_OK(WriteSafetensors(absl::StrCat(dir_.path(), "/", model, "/model.safetensors"),
                               {{"a", Dtype::kU8, {4096}}}, {}));
  }
  const std::string link = dir_.File("current");
  fs::create_directory_symlink("v1", link);
  Start({"--root", link, "--catalog.scan-interval-ms", "1000"});
  Stage("old");
  fs::create_directory_symlink("v2", dir_.File("next"));
  fs::rename(dir_.File("next"), link);
  Stage("new");
  const std::string listed = ctl_.Run({"ls"}).out;
  EXPECT_THAT(listed, AllOf(HasSubstr("new"), HasSubstr("old")));  // that one from memory
  EXPECT_TRUE(daemon_->WaitForLog("root_reopened"));
}

TEST_F(RootTest, ADirectoryWithTooManyEntriesDoesNotHideTheOthers) {
  MakeModel("good", 1 << 20);
  for (int i = 0; i < 20; ++i) {
    ASSERT_OK(WriteRawFile(InRoot(absl::StrCat("images/", i, ".jpg")), "x"));
  }
  Start({"--limits.catalog-entries-max", "10"});
  const CommandResult listed = ctl_.Run({"ls"});
  EXPECT_EQ(listed.exit_code, kExitOk);
  EXPECT_THAT(listed.out, AllOf(HasSubstr("good"), HasSubstr("images"),
                                HasSubstr("limits.catalog_entries_max")));
}

// A checkpoint of many files, and a process that may have few descriptors.
TEST_F(RootTest, FilesHaveDescriptorsOnlyWhileTheyAreRead) {
  std::vector<TensorSpec> specs;
  for (int i = 0; i < 400; ++i) specs.push_back({absl::StrCat("t", i), Dtype::kU8, {64}});
  ASSERT_OK(WriteSharded(InRoot("many"), specs, 400));
  ChildProcess daemon(
      {.argv = {"/bin/sh", "-c", "ulimit -n 256; exec \"$0\" \"$@\"", DaemonProgram(), "--root",
                root_, "--socket-dir", socket_dir_, "--state-file", "", "--cuda.enabled", "OFF"}});
  ASSERT_TRUE(daemon.WaitForOutput("serving")) << daemon.err();
  const CommandResult staged = ctl_.Run({"stage", "many", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitOk) << staged << daemon.err();
  EXPECT_EQ(ctl_.Run({"tensors", "many"}).exit_code, kExitOk);
}

}  // namespace
}  // namespace weightd::testing

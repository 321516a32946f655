// Roots that hang, come late, lead elsewhere or hold too much, with real processes.

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
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

// A root that is before the others in the list.
class FirstRootTest : public HungRootTest {
 protected:
  // A FUSE root before that of all tests.
  void Mount() {
    auto fuse = FuseVolume::Mount({{"note", "x"}});
    if (!fuse.ok()) GTEST_SKIP() << fuse.status();
    fuse_ = *std::move(fuse);
    for (const char* model : {"a", "b", "c"}) MakeModel(model, 1 << 20);
  }
  void StartBehindIt() {
    const std::string second = root_;
    root_ = fuse_->root();  // the first of the command line
    Start({"--root", second});
    root_ = second;
  }
};

TEST_F(FirstRootTest, OneThatWasNeverReadRefusesNothingOfTheOthers) {
  Mount();
  if (fuse_ == nullptr) return;
  fuse_->FailLists(EIO);
  StartBehindIt();
  Stage("a");
  EXPECT_NE(Attach("a"), nullptr);
  const CommandResult listed = ctl_.Run({"ls"});
  EXPECT_THAT(listed.out, HasSubstr("b "));
  EXPECT_THAT(listed.err, HasSubstr(fuse_->root()));
  // Not integrity: nothing is known of such a model.
  const CommandResult unknown = ctl_.Run({"stage", "not/there", "--wait"});
  EXPECT_EQ(unknown.exit_code, kExitError) << unknown;
  EXPECT_THAT(unknown.err, HasSubstr(fuse_->root()));
}

// With the stall_timeout of a default configuration, a minute.
TEST_F(FirstRootTest, OneThatHangsDelaysStagesOfTheOthersByASecond) {
  Mount();
  if (fuse_ == nullptr) return;
  StartBehindIt();
  Stage("a");
  fuse_->HangLookups();
  const absl::Time start = absl::Now();
  Stage("b");
  Stage("c");
  EXPECT_LT(absl::Now() - start, absl::Seconds(30));
  EXPECT_THAT(ctl_.Run({"status"}).out, HasSubstr(fuse_->root()));
}

// Long before its stall_timeout is over: nobody is told that all is well.
TEST_F(FirstRootTest, OneThatHangsFromTheStartIsToldAtOnce) {
  Mount();
  if (fuse_ == nullptr) return;
  fuse_->HangLookups();
  StartBehindIt();
  Stage("a");
  const CommandResult listed = ctl_.Run({"ls"});
  EXPECT_THAT(listed.out, HasSubstr("a "));
  EXPECT_THAT(listed.err, AllOf(HasSubstr(fuse_->root()), HasSubstr("not looked through yet")));
  EXPECT_THAT(ctl_.Run({"status"}).out, HasSubstr("not looked through yet"));
  fuse_->Answer();
}

TEST_F(FirstRootTest, OneWithTooManyEntriesHidesNoModel) {
  const std::string large = dir_.File("large");
  fs::create_directory(large);
  for (int i = 0; i < 1100; ++i) std::ofstream(absl::StrCat(large, "/image", i)) << "x";
  ASSERT_OK(WriteSafetensors(large + "/top.safetensors", {{"a", Dtype::kU8, {4096}}}, {}));
  ASSERT_OK(WriteSafetensors(large + "/m/model.safetensors", {{"a", Dtype::kU8, {4096}}}, {}));
  MakeModel("a", 1 << 20);
  const std::string second = std::exchange(root_, large);
  Start({"--root", second, "--limits.catalog-entries-max", "1000"});
  for (const char* model : {"a", "top", "m"}) Stage(model);
  EXPECT_THAT(ctl_.Run({"ls"}).err, AllOf(HasSubstr(large), HasSubstr("catalog_entries_max")));
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

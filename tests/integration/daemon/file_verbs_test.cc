// What weightctl does with files on a volume that never answers: a FUSE mount whose server is this
// test.

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/programs.h"
#include "tests/support/storage/fuse_volume.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kModelBytes = 24 << 20;
constexpr absl::Duration kAtOnce = absl::Seconds(10);

class FileVerbsTest : public DaemonTest {
 protected:
  void SetUp() override {
    const std::vector<TensorSpec> specs = {
        {.name = "w", .dtype = Dtype::kU8, .shape = {kModelBytes}}};
    auto volume =
        FuseVolume::Mount({{"m.safetensors", SafetensorsPrefix(SafetensorsHeaderText(specs, {})) +
                                                 std::string(kModelBytes, 'w')}});
    if (!volume.ok()) GTEST_SKIP() << volume.status();
    volume_ = *std::move(volume);
    file_ = volume_->root() + "/m.safetensors";
  }
  std::unique_ptr<ChildProcess> Run(std::vector<std::string> words) const {
    words.insert(words.begin(), WeightctlProgram());
    return std::make_unique<ChildProcess>(ChildOptions{.argv = std::move(words)});
  }
  std::vector<std::string> Digest() const { return {"digest", file_, "--to", dir_.File("d")}; }

  std::unique_ptr<FuseVolume> volume_;
  std::string file_;
};

TEST_F(FileVerbsTest, VolumeThatAnswersIsReadAsEver) {
  const auto digest = Run(Digest());
  EXPECT_EQ(digest->WaitForExit(), std::optional(0)) << digest->err();
  EXPECT_THAT(digest->out(), HasSubstr("1 tensor"));
  const auto tensorize = Run({"tensorize", file_, dir_.File("t.tensors"), "--timeout", "1m"});
  EXPECT_EQ(tensorize->WaitForExit(), std::optional(0)) << tensorize->err();
  const auto back = Run({"untensorize", dir_.File("t.tensors"), dir_.File("b.safetensors")});
  EXPECT_EQ(back->WaitForExit(), std::optional(0)) << back->err();
}

// The test takes all output until the pipes are closed: nobody may keep them.
TEST_F(FileVerbsTest, TimeoutEndsItWhateverHangs) {
  volume_->HangReads(8 << 20);
  for (std::vector<std::string> words :
       {Digest(), std::vector<std::string>{"tensorize", file_, dir_.File("t.tensors")}}) {
    const std::string verb = words[0];
    words.insert(words.end(), {"--timeout", "500ms"});
    const auto run = Run(words);
    EXPECT_EQ(run->WaitForExit(kAtOnce), std::optional(kExitNotReady)) << verb;
    EXPECT_THAT(run->err(), AllOf(HasSubstr(absl::StrCat("weightctl: ", verb, " ", file_)),
                                  HasSubstr("not done within 500ms (--timeout)")));
  }
  volume_->HangLookups();
  std::vector<std::string> words = Digest();
  words.insert(words.end(), {"--timeout", "500ms"});
  const auto looked = Run(words);
  EXPECT_EQ(looked->WaitForExit(kAtOnce), std::optional(kExitNotReady));
  EXPECT_THAT(looked->err(), HasSubstr(absl::StrCat("read ", file_, ": not done within 500ms")));
  EXPECT_THAT(FileNames(dir_.path()), ElementsAre("root")) << "nothing that is half made";
  volume_->Answer();
}

// A full pipe on stderr that nobody reads is one of the things that hang.
TEST_F(FileVerbsTest, NorDoesAnUnreadStderrKeepIt) {
  volume_->HangReads(8 << 20);
  const std::string pipe = dir_.File("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const UniqueFd full(::open(pipe.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  while (::write(full.get(), "x", 1) == 1) {
  }
  ChildProcess run({.argv = {"/bin/sh", "-c", "exec \"$@\" 2>" + pipe, "sh", WeightctlProgram(),
                             "digest", file_, "--to", dir_.File("d"), "--timeout", "4s"}});
  EXPECT_EQ(run.WaitForExit(kAtOnce), std::optional(kExitNotReady));
  volume_->Answer();
}

TEST_F(FileVerbsTest, WhatHangsIsSaidAndSignalsEndIt) {
  volume_->HangReads(8 << 20);
  for (const int signal : {SIGINT, SIGTERM}) {
    const auto run = Run(Digest());
    ASSERT_TRUE(run->WaitForOutput(absl::StrCat("read ", file_, ": no answer for 3s")));
    run->Signal(signal);
    EXPECT_EQ(run->WaitForExit(kAtOnce), std::optional(128 + signal));
  }
  volume_->Answer();
}

}  // namespace
}  // namespace weightd::testing

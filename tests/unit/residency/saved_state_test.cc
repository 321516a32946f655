#include "daemon/residency/saved_state.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/unique_fd.h"
#include "tests/support/common/read_file.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

absl::Time At(int64_t ns) { return absl::FromUnixNanos(ns); }

SavedState Example() {
  SavedState state;
  state.pins = {{"a", "", "host"}, {"org/name", "main", "GPU-0"}};
  state.last_uses = {{{"a", "host"}, At(1'700'000'000'000'000'001)},
                     {{"b", "GPU-0"}, At(1'700'000'000'000'000'002)}};
  return state;
}

TEST(SavedStateTest, WhatIsWrittenIsReadBack) {
  ASSERT_OK_AND_ASSIGN(const SavedState read, ParseSavedState(FormatSavedState(Example())));
  EXPECT_EQ(read.pins, Example().pins);
  EXPECT_EQ(read.last_uses, Example().last_uses);
}

TEST(SavedStateTest, MembersOfALaterDaemonArePassedOver) {
  const std::string text = absl::StrReplaceAll(
      FormatSavedState(Example()), {{"\"format\": 1,", "\"format\": 1, \"more\": [1, {}],"}});
  ASSERT_THAT(text, HasSubstr("more"));
  ASSERT_OK_AND_ASSIGN(const SavedState read, ParseSavedState(text));
  EXPECT_EQ(read.pins, Example().pins);
}

TEST(SavedStateTest, OnlyTheLatestUsesAreKept) {
  SavedState state;
  for (size_t i = 0; i < kSavedMax + 10; ++i) {
    state.last_uses[{absl::StrCat("m", i), "host"}] = At(static_cast<int64_t>(i));
  }
  ASSERT_OK_AND_ASSIGN(const SavedState read, ParseSavedState(FormatSavedState(state)));
  EXPECT_THAT(read.last_uses, SizeIs(kSavedMax));
  EXPECT_FALSE(read.last_uses.contains({"m9", "host"}));
  EXPECT_TRUE(read.last_uses.contains({"m10", "host"}));
}

struct BadText {
  const char* text;
  const char* why;
};

class BadStateTest : public ::testing::TestWithParam<BadText> {};

TEST_P(BadStateTest, IsRefusedAsAWhole) {
  EXPECT_THAT(ParseSavedState(GetParam().text),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(GetParam().why)));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadStateTest,
    ::testing::Values(
        BadText{"", "no JSON object"}, BadText{"{\"format\": 1", "no JSON object"},
        BadText{"[1]", "no JSON object"}, BadText{"{}", "it has no format"},
        BadText{"{\"format\": \"1\"}", "it has no format"},
        BadText{"{\"format\": 2}", "format 2, this daemon knows 1"},
        BadText{"{\"format\": 1, \"pins\": {}}", "pins is no list"},
        BadText{"{\"format\": 1, \"pins\": [1]}", "pins holds what is no object"},
        BadText{R"({"format": 1, "pins": [{"model": 5}]})", "model is no string"},
        BadText{R"({"format": 1, "pins": [{"model": "a"}]})", "a pin names nothing"},
        BadText{R"({"format": 1, "pins": [{"model": "../a", "device": "host"}]})", "names nothing"},
        BadText{R"({"format": 1, "last_uses": [{"model": "a", "device": "host"}]})", "no time_ns"},
        BadText{R"({"format": 1, "last_uses": [{"model": "a", "time_ns": 1}]})", "names nothing"},
        BadText{R"({"format": 1, "last_uses": [{"model": "a", "device": "h", "time_ns": "1"}]})",
                "no time_ns"}));

class StateFileTest : public ::testing::Test {
 protected:
  TempDir dir_;
  const std::string path_ = dir_.File("state/state.json");
};

TEST_F(StateFileTest, MissingFileIsNoState) {
  ASSERT_OK_AND_ASSIGN(const SavedState state, LoadSavedState(path_));
  EXPECT_THAT(state.pins, IsEmpty());
  EXPECT_THAT(state.last_uses, IsEmpty());
}

TEST_F(StateFileTest, StoredInADirectoryOfItsOwnThatNobodyElseReads) {
  ASSERT_OK(StoreSavedState(path_, FormatSavedState(Example())));
  ASSERT_OK_AND_ASSIGN(const SavedState state, LoadSavedState(path_));
  EXPECT_EQ(state.pins, Example().pins);
  struct stat file {};
  ASSERT_EQ(0, ::stat(path_.c_str(), &file));
  EXPECT_EQ(file.st_mode & 0777, 0600);
  ASSERT_EQ(0, ::stat(dir_.File("state").c_str(), &file));
  EXPECT_EQ(file.st_mode & 0777, 0700);
  EXPECT_FALSE(fs::exists(dir_.File("state/.state.json.new")));
}

TEST_F(StateFileTest, InvalidFileIsNamed) {
  fs::create_directory(dir_.File("state"));
  std::ofstream(path_) << "{\"format\": 1, \"pins\": [";
  EXPECT_THAT(LoadSavedState(path_),
              StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr(path_), HasSubstr("JSON"))));
}

TEST_F(StateFileTest, FileAboveItsLimitIsRefusedBeforeItIsParsed) {
  fs::create_directory(dir_.File("state"));
  std::ofstream(path_) << std::string((4 << 20) + 1, ' ');
  EXPECT_THAT(LoadSavedState(path_), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("4 MiB")));
}

TEST_F(StateFileTest, ADirectoryIsNoStateFile) {
  fs::create_directories(path_);
  const auto is_told = StatusIs(absl::StatusCode::kFailedPrecondition,
                                AllOf(HasSubstr(path_ + " is a directory; name a file in it"),
                                      HasSubstr(path_ + "/state.json")));
  EXPECT_THAT(LoadSavedState(path_), is_told);
  EXPECT_THAT(LoadOwnedState(path_, "pid 1", absl::Minutes(1)).status(), is_told);
}

TEST_F(StateFileTest, OneDaemonHasItAndAnotherIsToldWhich) {
  ASSERT_OK(StoreSavedState(path_, FormatSavedState(Example())));
  absl::StatusOr<OwnedState> first = LoadOwnedState(path_, "pid 7\nx", absl::Minutes(1));
  ASSERT_OK(first);
  EXPECT_TRUE(first->lock.held());
  EXPECT_THAT(LoadOwnedState(path_, "pid 8", absl::Minutes(1)).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(path_ + " is kept by another weightd (pid 7)"),
                             HasSubstr("--state-file"))));
  // It goes with its owner, and what a longer name of him left does not stay.
  first = absl::CancelledError("gone");
  absl::StatusOr<OwnedState> next = LoadOwnedState(path_, "p", absl::Minutes(1));
  ASSERT_OK(next);
  EXPECT_THAT(LoadOwnedState(path_, "pid 8", absl::Minutes(1)).status().message(),
              HasSubstr("another weightd (p)"));
}

TEST_F(StateFileTest, WhereNoLockCanBeMadeTheStateIsReadAllTheSame) {
  std::ofstream(dir_.File("file")) << "no directory";
  ASSERT_OK_AND_ASSIGN(const OwnedState owned,
                       LoadOwnedState(dir_.File("file/state.json"), "pid 1", absl::Minutes(1)));
  EXPECT_FALSE(owned.lock.held());
  EXPECT_OK(owned.state) << "as where there is none";
}

// A FIFO that nobody writes is such a file.
TEST_F(StateFileTest, FileThatDoesNotAnswerIsLeftBehind) {
  fs::create_directory(dir_.File("state"));
  ASSERT_EQ(0, ::mkfifo(path_.c_str(), 0600));
  EXPECT_THAT(LoadOwnedState(path_, "pid 1", absl::Milliseconds(20)).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr(path_)));
  const UniqueFd writer(::open(path_.c_str(), O_WRONLY | O_CLOEXEC));  // lets the reader go
  EXPECT_TRUE(writer.valid());
}

TEST_F(StateFileTest, FileThatAnswersInTimeIsRead) {
  ASSERT_OK(StoreSavedState(path_, FormatSavedState(Example())));
  ASSERT_OK_AND_ASSIGN(const OwnedState owned, LoadOwnedState(path_, "pid 1", absl::Minutes(1)));
  ASSERT_OK(owned.state);
  EXPECT_EQ(owned.state->pins, Example().pins);
}

TEST_F(StateFileTest, WhatACrashLeftIsWrittenOver) {
  fs::create_directory(dir_.File("state"));
  std::ofstream(dir_.File("state/.state.json.new")) << "half";
  ASSERT_OK(StoreSavedState(path_, FormatSavedState(Example())));
  EXPECT_OK(LoadSavedState(path_));
  EXPECT_FALSE(fs::exists(dir_.File("state/.state.json.new")));
}

TEST_F(StateFileTest, DirectoryThatCannotBeMadeIsNamed) {
  std::ofstream(dir_.File("state")) << "a file";
  EXPECT_THAT(StoreSavedState(path_, FormatSavedState(Example())).message(), HasSubstr(path_));
}

// A full disk, as far as the writer can tell: the file may not grow.
TEST_F(StateFileTest, FailedWriteLeavesTheOldStateAndNoRubbish) {
  ASSERT_OK(StoreSavedState(path_, FormatSavedState(Example())));
  const std::string before = ReadFile(path_);
  struct rlimit usual {};
  ASSERT_EQ(0, ::getrlimit(RLIMIT_FSIZE, &usual));
  auto* const old_handler = ::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {.rlim_cur = 16, .rlim_max = usual.rlim_max};
  ASSERT_EQ(0, ::setrlimit(RLIMIT_FSIZE, &small));
  absl::Status stored;
  // Who writes for a thread has the limits of the time when it was made: a thread of its own.
  std::thread([&] { stored = StoreSavedState(path_, FormatSavedState({})); }).join();
  ASSERT_EQ(0, ::setrlimit(RLIMIT_FSIZE, &usual));
  ::signal(SIGXFSZ, old_handler);
  EXPECT_THAT(stored.message(), HasSubstr("write " + path_));
  EXPECT_EQ(ReadFile(path_), before);
  EXPECT_FALSE(fs::exists(dir_.File("state/.state.json.new")));
}

}  // namespace
}  // namespace weightd::testing

// Rows of deploy/README.md's symptoms table about what lies on a volume, provoked.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/symptoms/symptoms_fixture.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;

WEIGHTD_SYMPTOM(SymptomsTest, TruncatedFile, "truncated-file") {
  fs::resize_file(MakeModel("model", 1 << 20), 500'000);
  Start();
  EXPECT_TRUE(ShowsSymptom("truncated-file", Failure({"stage", "model", "--wait"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, ChangedFile, "changed-file") {
  const std::string said = StageWhile({}, [&] {
    std::fstream file(InRoot("model.safetensors"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(1'000'000);
    file.put('!');
  });
  EXPECT_TRUE(ShowsSymptom("changed-file", said));
}

WEIGHTD_SYMPTOM(SymptomsTest, DeadDisk, "dead-disk") {
  MakeModel("model", 24 << 20);
  Start(kPread, FaultPreload({"WEIGHTD_FAULT_PATH=/model.safetensors",
                              "WEIGHTD_FAULT_OFFSET=9000000-9000001"}));
  EXPECT_TRUE(ShowsSymptom("dead-disk", Failure({"stage", "model", "--wait"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, StalledVolume, "stalled-volume") {
  const std::string said = StageWhile(
      {"--storage.stall-timeout-ms", "300"}, [] {}, false);
  EXPECT_TRUE(ShowsSymptom("stalled-volume", said));
}

WEIGHTD_SYMPTOM(SymptomsTest, StuckReads, "stuck-reads") {
  MakeModel("model", 24 << 20);
  const HeldRead held(dir_, "/model.safetensors", 9'000'000);
  std::vector<std::string> flags = kPread;
  flags.insert(flags.end(), {"--storage.stall-timeout-ms", "300"});
  Start(flags, held.environment());
  EXPECT_THAT(Failure({"stage", "model", "--wait"}), ::testing::HasSubstr("stays booked"));
  EXPECT_TRUE(ShowsSymptom("stuck-reads", StatusText()));
  held.Release();
}

WEIGHTD_SYMPTOM(SymptomsTest, TooManyStuck, "too-many-stuck") {
  MakeModel("model", 24 << 20);
  MakeModel("other", 24 << 20);
  const HeldRead held(dir_, "/model.safetensors", 9'000'000);
  std::vector<std::string> flags = kPread;
  flags.insert(flags.end(),
               {"--storage.stall-timeout-ms", "300", "--storage.stuck-reads-max", "1"});
  Start(flags, held.environment());
  (void)Failure({"stage", "model", "--wait"});
  EXPECT_TRUE(ShowsSymptom("too-many-stuck", Failure({"stage", "other", "--wait"})));
  held.Release();
}

WEIGHTD_SYMPTOM(SymptomsTest, StuckVolume, "stuck-volume") {
  MakeModel("model", 1 << 20);
  const HeldRead held(dir_, "/model.safetensors", 8);  // of its header
  std::vector<std::string> flags = kPread;
  flags.insert(flags.end(), {"--storage.stall-timeout-ms", "300"});
  Start(flags, held.environment());
  EXPECT_NE(ctl_.Run({"stage", "model", "--wait"}).exit_code, kExitOk);
  EXPECT_TRUE(ShowsSymptom("stuck-volume", StatusText()));
  held.Release();
}

WEIGHTD_SYMPTOM(SymptomsTest, TooManyEntries, "too-many-entries") {
  for (const char* name : {"images/1.jpg", "images/2.jpg"}) {
    ASSERT_OK(WriteRawFile(InRoot(name), "x"));
  }
  Start({"--limits.catalog-entries-max", "1"});
  EXPECT_TRUE(ShowsSymptom("too-many-entries", ctl_.Run({"ls"}).out));
}

WEIGHTD_SYMPTOM(SymptomsTest, TooLargeIndexes, "too-large-indexes") {
  const std::vector<TensorSpec> specs = {{"a", Dtype::kU8, {4}}, {"b", Dtype::kU8, {4}}};
  ASSERT_OK(WriteSharded(InRoot("many"), specs, 2));
  std::ofstream(InRoot("many/model.safetensors.index.json"), std::ios::app)
      << std::string(100 << 10, ' ');
  Start({"--limits.catalog-entries-max", "4"});
  EXPECT_TRUE(ShowsSymptom("too-large-indexes", ctl_.Run({"ls"}).out));
}

WEIGHTD_SYMPTOM(SymptomsTest, UnreadableFile, "unreadable-file") {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody whom a file can be kept from";
  fs::permissions(dir_.path(), fs::perms(0755));
  fs::permissions(MakeModel("model", 1 << 20), fs::perms(0600));
  const std::string sockets = dir_.File("theirs");
  fs::create_directory(sockets);
  ASSERT_EQ(::chown(sockets.c_str(), kNobody, kNobody), 0);
  ChildProcess daemon(
      {.argv = {DaemonProgram(), "--root", root_, "--socket-dir", sockets, "--state-file", ""},
       .uid = kNobody,
       .gid = kNobody});
  ASSERT_TRUE(daemon.WaitForOutput("serving")) << daemon.err();
  const CommandResult staged = Weightctl(sockets).Run({"stage", "model", "--wait"});
  EXPECT_TRUE(ShowsSymptom("unreadable-file", staged.err));
}

WEIGHTD_SYMPTOM(SymptomsTest, WrongDigest, "wrong-digest") {
  const std::string path = MakeModel("model", 1 << 20);
  ASSERT_EQ(ctl_.Run({"digest", path}).exit_code, kExitOk);
  MakeModel("model", 1 << 20, /*seed=*/2);
  Start();
  EXPECT_TRUE(ShowsSymptom("wrong-digest", Failure({"stage", "model", "--wait"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, NoDigest, "no-digest") {
  MakeModel("model", 1 << 20);
  Start({"--staging.require-digest", "true"});
  EXPECT_TRUE(ShowsSymptom("no-digest", Failure({"stage", "model", "--wait"})));
}

}  // namespace
}  // namespace weightd::testing

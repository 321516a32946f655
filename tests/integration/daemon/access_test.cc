// Who may do what: modes, allow-lists, and no other way in.

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/read_file.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

mode_t ModeOf(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

// Inodes of the sockets that a process has open.
std::set<std::string> SocketInodes(pid_t pid) {
  std::set<std::string> inodes;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/fd"), error)) {
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    if (!absl::StartsWith(target, "socket:[")) continue;
    inodes.insert(target.substr(8, target.size() - 9));
  }
  return inodes;
}

class AccessTest : public DaemonTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to run clients as another user";
    std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
    path_ = MakeModel("model", 1 << 20);
  }
  CommandResult RunAsNobody(uint32_t gid, const Weightctl::Arguments& arguments) const {
    return ctl_.RunAs(kNobody, gid, arguments);
  }
  AttachProbe AttachAsNobody(uint32_t gid) const {
    ProbeOptions options = Probe("model", {path_});
    options.uid = kNobody;
    options.gid = gid;
    return AttachProbe(options);
  }
  std::string path_;
};

TEST_F(DaemonTest, DirectoryAndSocketsAreClosedToOthers) {
  Start();
  EXPECT_EQ(ModeOf(socket_dir_), 0750);
  EXPECT_EQ(ModeOf(socket_dir_ + "/weightd.sock"), 0660);
  EXPECT_EQ(ModeOf(socket_dir_ + "/handles.sock"), 0660);
}

TEST_F(DaemonTest, NothingListensOnTheNetwork) {
  MakeModel("model", 1 << 20);
  Start();
  Stage("model");
  const auto holder = Attach("model");
  const std::set<std::string> inodes = SocketInodes(daemon_->pid());
  EXPECT_THAT(inodes, ::testing::Not(IsEmpty())) << "its Unix sockets at least";
  for (const char* table : {"tcp", "tcp6", "udp", "udp6", "raw", "raw6"}) {
    const std::string path = absl::StrCat("/proc/", daemon_->pid(), "/net/", table);
    for (const absl::string_view line : absl::StrSplit(ReadFile(path), '\n')) {
      const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
      for (const std::string& field : fields) {
        EXPECT_EQ(inodes.count(field), 0) << path << ": " << line;
      }
    }
  }
}

TEST_F(AccessTest, StrangerCannotReachTheSockets) {
  Start();
  const CommandResult listed = RunAsNobody(kNogroup, {"ls"});
  EXPECT_EQ(listed.exit_code, kExitNotPermitted) << listed;
  EXPECT_THAT(AttachAsNobody(kNogroup).Attached(), StartsWith("refused PERMISSION_DENIED"));
}

TEST_F(AccessTest, CallerWhoIsNotOnTheListIsRefusedByTheDaemon) {
  Start({"--access.attach-uid", "0", "--access.attach-gid", "4242"});
  Stage("model");
  for (const char* verb : {"ls", "ps", "status", "leases", "health"}) {
    const CommandResult result = RunAsNobody(kOurGroup, {verb});
    EXPECT_EQ(result.exit_code, kExitNotPermitted) << verb << ": " << result;
    EXPECT_THAT(result.err, HasSubstr("65534")) << "the message names who was refused";
  }
  AttachProbe probe = AttachAsNobody(kOurGroup);
  EXPECT_THAT(probe.Attached(), StartsWith("refused PERMISSION_DENIED/PERMISSION_DENIED"));
  EXPECT_EQ(LeaseCount(), 0);
  StopCleanly();
}

TEST_F(AccessTest, CallerWhoMayAttachMayNotOperate) {
  Start({"--access.attach-uid", absl::StrCat(kNobody)});
  Stage("model");
  for (const Weightctl::Arguments& arguments : {Weightctl::Arguments{"stage", "model", "--wait"},
                                                {"evict", "model"},
                                                {"pin", "model"},
                                                {"unpin", "model"}}) {
    const CommandResult result = RunAsNobody(kOurGroup, arguments);
    EXPECT_EQ(result.exit_code, kExitNotPermitted) << arguments[0] << ": " << result;
    EXPECT_THAT(result.err, AllOf(HasSubstr("65534"), HasSubstr("operate")));
  }
  EXPECT_EQ(RunAsNobody(kOurGroup, {"ps"}).exit_code, kExitOk);

  AttachProbe probe = AttachAsNobody(kOurGroup);
  ASSERT_TRUE(probe.is_attached()) << probe.output();
  EXPECT_THAT(probe.Compare(), StartsWith("same "));
  const nlohmann::json lease = ctl_.Json({"leases"})["leases"][0];
  EXPECT_EQ(lease["uid"], kNobody);
  EXPECT_EQ(lease["pid"], probe.pid());
  EXPECT_EQ(probe.Leave(), std::optional(0));
  StopCleanly();
}

TEST_F(AccessTest, CallerOnTheOperatorsListMayDoAll) {
  Start({"--access.operate-uid", "0", "--access.operate-uid", absl::StrCat(kNobody)});
  for (const Weightctl::Arguments& arguments : {Weightctl::Arguments{"stage", "model", "--wait"},
                                                {"pin", "model"},
                                                {"unpin", "model"},
                                                {"evict", "model"}}) {
    const CommandResult result = RunAsNobody(kOurGroup, arguments);
    EXPECT_EQ(result.exit_code, kExitOk) << arguments[0] << ": " << result;
  }
}

// Descriptors work between PID namespaces, where CUDA IPC does not.
TEST_F(AccessTest, ClientInAnotherPidNamespaceAttachesHostMemory) {
  Start();
  Stage("model");
  ProbeOptions options = Probe("model", {path_});
  options.new_pid_namespace = true;
  AttachProbe probe(options);
  ASSERT_TRUE(probe.is_attached()) << probe.output();
  EXPECT_THAT(probe.Compare(), StartsWith("same "));
  EXPECT_EQ(probe.Leave(), std::optional(0));
}

}  // namespace
}  // namespace weightd::testing

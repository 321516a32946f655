#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "common/volume_call.h"
#include "daemon/storage/tree_watch.h"
#include "daemon/storage/volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/process/wait_until.h"
#include "tests/support/storage/fuse_volume.h"

// Volumes that lie, or that do not answer where nobody expects a question. Real FUSE mounts and
// real processes: a thread that waits for such a volume itself cannot be ended, by SIGKILL neither.

namespace weightd::testing {
namespace {

// A process that begins before the volume has a thread, and is killed in the end.
// Thread-compatible.
class Victim {
 public:
  // There, `work` is called with the root of the volume; then it waits for its end.
  explicit Victim(const std::function<void(const std::string& root)>& work) {
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_.data()) != 0) return;
    pid_ = ::fork();
    ::close(std::exchange(ends_[pid_ == 0 ? 0 : 1], -1));
    if (pid_ != 0) return;
    std::string root(4096, '\0');
    const ssize_t bytes = ::read(ends_[1], root.data(), root.size());
    if (bytes <= 0) ::_exit(1);
    root.resize(static_cast<size_t>(bytes));
    work(root);
    (void)!::write(ends_[1], "x", 1);
    while (true) ::pause();
  }
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;
  ~Victim() { ::close(ends_[0]); }

  void Begin(const std::string& root) const {
    ASSERT_GT(pid_, 0);
    ASSERT_EQ(::write(ends_[0], root.data(), root.size()), static_cast<ssize_t>(root.size()));
  }
  void AwaitWork() const {
    char byte = 0;
    ASSERT_EQ(::read(ends_[0], &byte, 1), 1);
  }
  // Whether it ends by SIGKILL before long.
  [[nodiscard]] bool Kill() const {
    ::kill(pid_, SIGKILL);
    return WaitUntil([&] { return ::waitpid(pid_, nullptr, WNOHANG) == pid_; });
  }

 private:
  std::array<int, 2> ends_ = {-1, -1};
  pid_t pid_ = -1;
};

// As the daemon has many, of which one is the last to end.
void StartThreads(int count) {
  for (int i = 0; i < count; ++i) {
    std::thread([i] {
      if (i % 10 == 0) (void)VolumeCall(SYS_getpid);
      while (true) ::pause();
    }).detach();
  }
}

class LyingVolumeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (VolumeHelperPid() == 0) GTEST_SKIP() << "no helpers in this build";
  }
  void Mount() {
    auto mounted = FuseVolume::Mount({{"m.safetensors", std::string(4096, 'x')}});
    if (!mounted.ok()) GTEST_SKIP() << mounted.status();
    volume_ = *std::move(mounted);
  }
  std::unique_ptr<FuseVolume> volume_;
};

TEST_F(LyingVolumeTest, ADirectoryWithoutAnEndIsWatchedInPart) {
  ASSERT_NO_FATAL_FAILURE(Mount());
  if (volume_ == nullptr) return;
  volume_->ListForEver();
  EXPECT_OK(TreeWatch::Create(volume_->root(), FileSystemKind::kLocal, {}));
}

// Its attributes fail after its open: nobody has it, and it is closed at once.
TEST_F(LyingVolumeTest, ProcessThatClosesWhatItOpenedInVainEnds) {
  const Victim victim([](const std::string& root) {
    std::thread([root] {
      const auto volume = OpenVolume(root);
      if (volume.ok()) (void)(*volume)->Open("m.safetensors");
    }).detach();
  });
  ASSERT_NO_FATAL_FAILURE(Mount());
  if (volume_ == nullptr) return;
  volume_->FailOnceOpened(EIO);
  volume_->HangCloses();
  victim.Begin(volume_->root());
  ASSERT_TRUE(WaitUntil([&] { return volume_->held() > 0; }));
  EXPECT_TRUE(victim.Kill());
}

// The last of its threads would close the file, and wait.
TEST_F(LyingVolumeTest, ProcessThatIsKilledWithAFileOpenEnds) {
  for (int round = 0; round < 20; ++round) {
    const Victim victim([](const std::string& root) {
      StartThreads(100);
      const auto volume = OpenVolume(root);
      static auto* const file = new absl::StatusOr<std::shared_ptr<File>>();
      if (volume.ok()) *file = (*volume)->Open("m.safetensors");
      if (!file->ok()) ::_exit(1);
    });
    ASSERT_NO_FATAL_FAILURE(Mount());
    if (volume_ == nullptr) return;
    victim.Begin(volume_->root());
    victim.AwaitWork();
    volume_->HangCloses();
    ASSERT_TRUE(victim.Kill()) << "in round " << round;
    volume_.reset();
  }
}

// What others wait for of a process that a volume does not let go.
TEST_F(LyingVolumeTest, ProcessThatIsKilledInACallGivesBackWhatOthersWaitFor) {
  const TempDir folder;
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const int memory = ::memfd_create("model", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  constexpr size_t kMemoryBytes = 1 << 20;
  ASSERT_EQ(::ftruncate(memory, kMemoryBytes), 0);
  const std::string lock_path = folder.File("weightd.lock");
  const Victim victim([&](const std::string& root) {
    const int lock = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (::flock(lock, LOCK_EX | LOCK_NB) != 0) ::_exit(1);
    if (::mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0) == MAP_FAILED)
      ::_exit(2);
    std::thread([root] {
      const auto volume = OpenVolume(root);
      const auto file = (*volume)->Open("m.safetensors");
      std::array<std::byte, 1> byte{};
      (void)(*file)->ReadAt(0, absl::MakeSpan(byte));
    }).detach();
  });
  ::close(pipe[1]);
  ASSERT_NO_FATAL_FAILURE(Mount());
  if (volume_ == nullptr) return;
  volume_->HangReads(0);
  victim.Begin(volume_->root());
  ASSERT_TRUE(WaitUntil([&] { return volume_->held() > 0; }));
  EXPECT_TRUE(victim.Kill());
  const int lock = ::open(lock_path.c_str(), O_RDWR | O_CLOEXEC);
  EXPECT_TRUE(WaitUntil([&] { return ::flock(lock, LOCK_EX | LOCK_NB) == 0; }));
  char byte = 0;
  EXPECT_EQ(::read(pipe[0], &byte, 1), 0) << "the other side is closed";
  // No mapping that could write is left: a seal says so.
  EXPECT_TRUE(WaitUntil([&] { return ::fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE) == 0; }));
  ::close(lock);
  ::close(memory);
  ::close(pipe[0]);
}

}  // namespace
}  // namespace weightd::testing

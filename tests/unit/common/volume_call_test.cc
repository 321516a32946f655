#include "common/volume_call.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace weightd {
namespace {

long Address(const void* pointer) { return reinterpret_cast<long>(pointer); }

TEST(VolumeCallTest, AnswersAsTheKernelDoes) {
  const long fd =
      VolumeCall(SYS_openat, AT_FDCWD, Address("/proc/self/stat"), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  std::array<char, 64> text{};
  const ssize_t count = VolumePread(static_cast<int>(fd), text.data(), text.size() - 1, 0);
  ASSERT_GT(count, 0);
  ::close(static_cast<int>(fd));
  EXPECT_EQ(VolumeCall(SYS_openat, AT_FDCWD, Address("/nowhere"), O_RDONLY), -1);
  EXPECT_EQ(errno, ENOENT);
}

// The helper is a process of its own, as a process that ends without it needs; its descriptors and
// memory are ours.
TEST(VolumeCallTest, HelperIsNoThreadOfTheProcess) {
  const pid_t helper = VolumeHelperPid();
  if (helper == 0) GTEST_SKIP() << "no helpers in this build";
  EXPECT_EQ(VolumeCall(SYS_getpid), helper);
  EXPECT_NE(::access(("/proc/self/task/" + std::to_string(helper)).c_str(), F_OK), 0);
  EXPECT_EQ(VolumeHelperPid(), helper);  // one for a thread
}

TEST(VolumeCallTest, HelperGoesWithItsThread) {
  pid_t helper = 0;
  std::thread([&] { helper = VolumeHelperPid(); }).join();
  if (helper == 0) GTEST_SKIP() << "no helpers in this build";
  EXPECT_EQ(::kill(helper, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

// As an operator does who sees a process that waits for a dead server.
TEST(VolumeCallTest, HelperThatIsKilledIsReplaced) {
  const pid_t helper = VolumeHelperPid();
  if (helper == 0) GTEST_SKIP() << "no helpers in this build";
  ASSERT_EQ(::kill(helper, SIGKILL), 0);
  while (VolumeHelperPid() == helper) {
  }
  EXPECT_EQ(VolumeCall(SYS_getpid), VolumeHelperPid());
}

TEST(VolumeCallTest, CallWhoseHelperIsKilledFails) {
  if (VolumeHelperPid() == 0) GTEST_SKIP() << "no helpers in this build";
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  std::atomic<pid_t> helper = 0;
  std::thread caller([&] {
    helper = VolumeHelperPid();
    char byte = 0;
    EXPECT_EQ(VolumeCall(SYS_read, pipe[0], Address(&byte), 1), -1);
    EXPECT_EQ(errno, EIO);
    EXPECT_EQ(VolumeCall(SYS_getpid), VolumeHelperPid());  // the next one has another helper
  });
  while (helper == 0 || VolumeCallsRunning() == 0) {
  }
  EXPECT_EQ(::kill(helper, SIGKILL), 0);
  caller.join();
  for (const int end : pipe) ::close(end);
}

// A thread that called itself could not be ended while the volume hangs: it does not close a file
// either, but waits until it has a helper for that.
TEST(VolumeCallTest, WithoutAProcessForAHelperACallIsRefusedAndAFileClosedLater) {
  if (VolumeHelperPid() == 0) GTEST_SKIP() << "no helpers in this build";
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // No limit holds for root.
    if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) ::_exit(1);
    const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    std::atomic<bool> is_limited = false;
    std::atomic<bool> closes = false;
    std::thread closer([&] {
      while (!is_limited) {
      }
      closes = true;
      VolumeClose(fd);
    });
    rlimit limit{};
    if (::getrlimit(RLIMIT_NPROC, &limit) != 0) ::_exit(2);
    const rlimit none = {.rlim_cur = 0, .rlim_max = limit.rlim_max};
    if (::setrlimit(RLIMIT_NPROC, &none) != 0) ::_exit(3);
    if (VolumeCall(SYS_getpid) != -1 || errno != EAGAIN) ::_exit(4);
    is_limited = true;
    while (!closes) {
    }
    ::usleep(20'000);  // tidy: nothing shows that it waits; too early is no failure
    if (::fcntl(fd, F_GETFD) == -1) ::_exit(5);
    if (::setrlimit(RLIMIT_NPROC, &limit) != 0) ::_exit(6);
    closer.join();
    ::_exit(::fcntl(fd, F_GETFD) == -1 ? 0 : 7);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// A call that is never answered: the process ends, and is reaped, at once.
TEST(VolumeCallTest, ProcessEndsDuringACall) {
  if (VolumeHelperPid() == 0) GTEST_SKIP() << "no helpers in this build";
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::thread([] { VolumeCall(SYS_pause); }).detach();
    const char byte = 1;
    (void)!::write(pipe[1], &byte, 1);
    // tidy: in the call by then or about to be, either must do; nothing tells which
    ::usleep(20'000);
    ::_exit(7);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  ::close(pipe[0]);
  ::close(pipe[1]);
}

// A process that ends just when a helper begins takes it along: one that stayed would keep its
// memory and descriptors for ever.
TEST(VolumeCallTest, NoHelperOutlivesAProcessThatEndsWhileItBegins) {
  if (VolumeHelperPid() == 0) GTEST_SKIP() << "no helpers in this build";
  constexpr int kProcesses = 1500;
  constexpr int64_t kStepsOfTime = 150;  // of a microsecond: about what a helper's start takes
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      std::atomic<bool> begins = false;
      std::thread([&] {
        begins = true;
        VolumeHelperPid();
      }).detach();
      while (!begins) {
      }
      const auto end =
          std::chrono::steady_clock::now() + std::chrono::microseconds(i % kStepsOfTime);
      while (std::chrono::steady_clock::now() < end) {
      }
      ::_exit(0);
    }
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  }
  ::close(pipe[1]);
  // It ends when nobody has the other side any more.
  pollfd other_side = {.fd = pipe[0], .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&other_side, 1, 10'000), 1) << "a helper is left";
  ::close(pipe[0]);
}

TEST(VolumeCallTest, TellsHowManyAreNotAnswered) {
  if (VolumeHelperPid() == 0) GTEST_SKIP() << "no helpers in this build";
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  EXPECT_EQ(VolumeCallsRunning(), 0);
  std::array<char, 1> byte{};
  std::thread reader([&] { VolumeCall(SYS_read, pipe[0], Address(byte.data()), 1); });
  while (VolumeCallsRunning() == 0) std::this_thread::yield();
  EXPECT_EQ(VolumeCallsRunning(), 1);
  EXPECT_EQ(::write(pipe[1], "x", 1), 1);
  reader.join();
  EXPECT_EQ(VolumeCallsRunning(), 0);
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(VolumeCallTest, ManyThreadsCall) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([] {
      struct stat facts {};
      for (int n = 0; n < 500; ++n) {
        EXPECT_EQ(VolumeCall(SYS_newfstatat, AT_FDCWD, Address("/"), Address(&facts)), 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace weightd

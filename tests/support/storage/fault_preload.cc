// A shared object for LD_PRELOAD that makes a disk fail: reads of one file in one range answer EIO.
//
//   WEIGHTD_FAULT_PATH    the end of the file's path, e.g. model-00002-of-00004.safetensors
//   WEIGHTD_FAULT_OFFSET  "N" the byte at N; "N-M" bytes N to M-1; absent, every byte
//   WEIGHTD_FAULT_TIMES   only the first so many reads of the range fail, with EINTR
//   WEIGHTD_FAULT_WAIT_FILE  reads of the range do not fail: they wait until this file exists. The
//                            first of them makes <this file>.reached
//
// A read that touches the range fails, or waits, whole. It sees pread, pread64 and preadv, so the
// program must use the pread engine (storage.engine = PREAD): io_uring does not pass through the C
// library. Without WEIGHTD_FAULT_PATH it changes nothing. Thread-safe.

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

struct Fault {
  std::string path_suffix;  // empty: no fault
  uint64_t begin = 0;
  uint64_t end = UINT64_MAX;
  uint64_t times = UINT64_MAX;
  int error = EIO;
  std::string wait_file;  // empty: fail at once
};

Fault ParseFault() {
  Fault fault;
  if (const char* path = std::getenv("WEIGHTD_FAULT_PATH")) fault.path_suffix = path;
  if (const char* range = std::getenv("WEIGHTD_FAULT_OFFSET")) {
    char* rest = nullptr;
    fault.begin = std::strtoull(range, &rest, 10);
    fault.end = *rest == '-' ? std::strtoull(rest + 1, nullptr, 10) : fault.begin + 1;
  }
  if (const char* times = std::getenv("WEIGHTD_FAULT_TIMES")) {
    fault.times = std::strtoull(times, nullptr, 10);
    fault.error = EINTR;
  }
  if (const char* path = std::getenv("WEIGHTD_FAULT_WAIT_FILE")) fault.wait_file = path;
  return fault;
}

const Fault& TheFault() {
  static const Fault* const fault = new Fault(ParseFault());
  return *fault;
}

bool Touches(const Fault& fault, int fd, uint64_t offset, uint64_t length) {
  if (fault.path_suffix.empty()) return false;
  if (offset >= fault.end || fault.begin >= offset + length) return false;
  std::array<char, 64> link{};
  std::snprintf(link.data(), link.size(), "/proc/self/fd/%d", fd);
  std::array<char, PATH_MAX> path{};
  const ssize_t length_read = readlink(link.data(), path.data(), path.size());
  if (length_read < 0) return false;
  const std::string name(path.data(), static_cast<size_t>(length_read));
  const std::string& suffix = fault.path_suffix;
  return name.size() >= suffix.size() &&
         name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
}

void WaitForFile(const std::string& path) {
  const int reached = open((path + ".reached").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (reached >= 0) close(reached);
  // tidy: the file tells nobody that it was made
  while (access(path.c_str(), F_OK) != 0) usleep(1000);
}

// Whether the read is to fail; waits first where it is to wait.
bool IsFaulty(int fd, uint64_t offset, uint64_t length) {
  static std::atomic<uint64_t> touched = 0;
  const Fault& fault = TheFault();
  if (!Touches(fault, fd, offset, length)) return false;
  if (fault.wait_file.empty()) return touched++ < fault.times;
  WaitForFile(fault.wait_file);
  return false;
}

template <typename Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

using Pread = ssize_t (*)(int, void*, size_t, off_t);
using Preadv = ssize_t (*)(int, const iovec*, int, off_t);

ssize_t Fail() {
  errno = TheFault().error;
  return -1;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) ssize_t pread(int fd, void* buffer, size_t length,
                                                     off_t offset) {
  static const auto next = Next<Pread>("pread");
  return IsFaulty(fd, static_cast<uint64_t>(offset), length) ? Fail()
                                                             : next(fd, buffer, length, offset);
}

__attribute__((visibility("default"))) ssize_t pread64(int fd, void* buffer, size_t length,
                                                       off64_t offset) {
  static const auto next = Next<Pread>("pread64");
  return IsFaulty(fd, static_cast<uint64_t>(offset), length) ? Fail()
                                                             : next(fd, buffer, length, offset);
}

__attribute__((visibility("default"))) ssize_t preadv(int fd, const iovec* vectors, int count,
                                                      off_t offset) {
  static const auto next = Next<Preadv>("preadv");
  uint64_t length = 0;
  for (int i = 0; i < count; ++i) length += vectors[i].iov_len;
  return IsFaulty(fd, static_cast<uint64_t>(offset), length) ? Fail()
                                                             : next(fd, vectors, count, offset);
}

}  // extern "C"

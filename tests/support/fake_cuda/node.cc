#include "tests/support/fake_cuda/node.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "tests/support/fake_cuda/config.h"
#include "tests/support/fake_cuda/report.h"
#include "tests/support/fake_cuda/text.h"

namespace fake_cuda {
namespace {

constexpr size_t kFileBytes = sizeof(uint64_t) * kGpusMax;
constexpr int kLockAttemptsMax = 100;

// Closes a descriptor at the end of a scope; for "lock" that also unlocks it.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  const int fd_;
};

std::string OwnName() {
  uint64_t number = 0;
  if (::getrandom(&number, sizeof(number), 0) != sizeof(number)) number = 0;
  return "process-" + std::to_string(::getpid()) + "-" + Hex(number);
}

}  // namespace

Node::Node(const std::string& name)
    : directory_("/dev/shm/weightd-fake-cuda-" + name), own_name_(OwnName()) {
  const Descriptor lock(Lock());
  const std::string path = directory_ + "/" + own_name_;
  // Kept open until the process ends: the flock says that it lives.
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  void* memory = MAP_FAILED;
  if (fd >= 0 && ::fchmod(fd, 0666) == 0 && ::flock(fd, LOCK_EX) == 0 &&
      ::ftruncate(fd, kFileBytes) == 0) {
    memory = ::mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  if (memory == MAP_FAILED) {
    Report("cannot write " + path + ": memory is counted for this process alone");
    own_name_.clear();
    used_bytes_ = new std::atomic<uint64_t>[kGpusMax]();
    return;
  }
  used_bytes_ = static_cast<std::atomic<uint64_t>*>(memory);
}

int Node::Lock() const {
  const std::string path = directory_ + "/lock";
  for (int attempt = 0; attempt < kLockAttemptsMax; ++attempt) {
    // Whoever leaves last removes the directory; then it is made again.
    if (::mkdir(directory_.c_str(), 0777) == 0) ::chmod(directory_.c_str(), 0777);
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) continue;
    (void)::fchmod(fd, 0666);  // only its owner can, and only its owner must
    struct stat status {};
    if (::flock(fd, LOCK_EX) == 0 && ::fstat(fd, &status) == 0 && status.st_nlink > 0) return fd;
    ::close(fd);
  }
  return -1;
}

uint64_t Node::SumOfLiving(int gpu) const {
  if (own_name_.empty()) return used_bytes_[gpu];
  uint64_t sum = 0;
  DIR* directory = ::opendir(directory_.c_str());
  if (directory == nullptr) return used_bytes_[gpu];
  while (const dirent* entry = ::readdir(directory)) {
    if (!std::string_view(entry->d_name).starts_with("process-")) continue;
    const std::string path = directory_ + "/" + entry->d_name;
    const Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (file.get() < 0) continue;
    if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) {
      ::unlink(path.c_str());  // its process is dead
      continue;
    }
    std::array<uint64_t, kGpusMax> used{};
    if (::pread(file.get(), used.data(), kFileBytes, 0) == static_cast<ssize_t>(kFileBytes)) {
      sum += used[static_cast<size_t>(gpu)];
    }
  }
  ::closedir(directory);
  return sum;
}

bool Node::Take(int gpu, uint64_t bytes, uint64_t total_bytes) {
  const Descriptor lock(Lock());
  const uint64_t used = SumOfLiving(gpu);
  if (used > total_bytes || bytes > total_bytes - used) return false;
  used_bytes_[gpu] += bytes;
  return true;
}

void Node::GiveBack(int gpu, uint64_t bytes) {
  const Descriptor lock(Lock());
  used_bytes_[gpu] -= bytes;
}

uint64_t Node::UsedBytes(int gpu) {
  const Descriptor lock(Lock());
  return SumOfLiving(gpu);
}

void Node::Leave() {
  if (own_name_.empty()) return;
  const Descriptor lock(Lock());
  (void)SumOfLiving(0);  // removes the files of the dead
  ::unlink((directory_ + "/" + own_name_).c_str());
  own_name_.clear();
  bool others = false;
  if (DIR* directory = ::opendir(directory_.c_str())) {
    while (const dirent* entry = ::readdir(directory)) {
      others |= std::string_view(entry->d_name).starts_with("process-");
    }
    ::closedir(directory);
  }
  if (others) return;
  ::unlink((directory_ + "/lock").c_str());
  ::rmdir(directory_.c_str());
}

}  // namespace fake_cuda

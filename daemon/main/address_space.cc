#include "daemon/main/address_space.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "absl/strings/str_cat.h"
#include "common/format_units.h"

namespace weightd {
namespace {

constexpr int kArenasMax = 2;
// What we and gRPC call goes a few hundred frames deep at most, none of them large.
constexpr size_t kStackBytes = size_t{1} << 20;
// Who ends with less than an eighth left is taken to have met the limit.
constexpr uint64_t kLeftShare = 8;

std::atomic<bool> was_told = false;

// Nothing here takes memory, or a lock: it runs where there is none, and in a signal's handler.
void Write(const char* text, int length) {
  if (was_told.exchange(true) || length < 0) return;
  (void)!::write(STDERR_FILENO, text, static_cast<size_t>(length));
}

void TellOutOfMemory() {
  std::array<char, 256> line{};
  const std::optional<uint64_t> limit = AddressSpaceLimit();
  if (!limit.has_value()) {
    Write(line.data(), std::snprintf(line.data(), line.size(), "weightd: out of memory\n"));
    return;
  }
  Write(line.data(),
        std::snprintf(line.data(), line.size(),
                      "weightd: out of memory: the process may have %llu bytes of address space "
                      "(RLIMIT_AS); %s\n",
                      static_cast<unsigned long long>(*limit), kHowToRaiseAddressSpace));
}

void OnNoMemory() {
  TellOutOfMemory();
  std::abort();
}

uint64_t UsedBytes() {
  std::array<char, 64> text{};
  const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t count = ::read(file, text.data(), text.size() - 1);
  ::close(file);
  if (count <= 0) return 0;
  return std::strtoull(text.data(), nullptr, 10) * static_cast<uint64_t>(::getpagesize());
}

// gRPC aborts where it gets no memory, without a word.
void OnAbort(int /*signal*/) {
  const uint64_t limit = AddressSpaceLimit().value_or(RLIM_INFINITY);
  if (UsedBytes() > limit - limit / kLeftShare) TellOutOfMemory();
}

}  // namespace

void PrepareForLittleAddressSpace() {
  std::set_new_handler(OnNoMemory);
  if (!AddressSpaceLimit().has_value()) return;
  struct sigaction action {};
  action.sa_handler = OnAbort;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGABRT, &action, nullptr);
  // Without either the daemon works as well as the limit lets it.
  (void)::mallopt(M_ARENA_MAX, kArenasMax);
  pthread_attr_t attributes;
  if (::pthread_attr_init(&attributes) != 0) return;
  if (::pthread_attr_setstacksize(&attributes, kStackBytes) == 0) {
    (void)::pthread_setattr_default_np(&attributes);
  }
  ::pthread_attr_destroy(&attributes);
}

std::optional<uint64_t> AddressSpaceLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return limit.rlim_cur;
}

absl::StatusOr<uint64_t> AddressSpaceForModels(uint64_t limit) {
  if (limit < kAddressSpaceMin) {
    return absl::ResourceExhaustedError(
        absl::StrCat("address space: weightd may have ", FormatBytes(limit),
                     " (RLIMIT_AS), wanted ", FormatBytes(kAddressSpaceMin),
                     " and what host.budget_bytes gives to models; ", kHowToRaiseAddressSpace));
  }
  return limit - kAddressSpaceMin;
}

}  // namespace weightd

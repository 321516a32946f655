#include "tests/bench/huge_pages.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/format_units.h"
#include "common/proc_text.h"
#include "common/status_macros.h"
#include "daemon/device/host_memory.h"

namespace weightd::bench {
namespace {

constexpr const char* kPagesFile = "/proc/sys/vm/nr_hugepages";
constexpr std::array<int, 7> kEndingSignals = {SIGINT,  SIGTERM, SIGHUP, SIGQUIT,
                                               SIGABRT, SIGSEGV, SIGBUS};
constexpr int kTriesMax = 10;

// What a signal handler writes; a handler can format nothing. Empty while nothing was changed.
std::array<char, 32> g_before{};

void Restore() {
  const size_t length = ::strnlen(g_before.data(), g_before.size());
  if (length == 0) return;
  const int fd = ::open(kPagesFile, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)!::write(fd, g_before.data(), length);
  ::close(fd);
}

void RestoreAndDie(int signal) {
  Restore();
  ::raise(signal);  // SA_RESETHAND: this time it ends us
}

uint64_t ReadPages(const std::string& path) {
  uint64_t pages = 0;
  std::ifstream(path) >> pages;
  return pages;
}

absl::Status WritePages(uint64_t pages) {
  if (g_before[0] == '\0') {
    const std::string before = absl::StrCat(ReadPages(kPagesFile), "\n");
    before.copy(g_before.data(), g_before.size() - 1);
    std::atexit(Restore);
    struct sigaction action {};
    action.sa_handler = RestoreAndDie;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    for (const int signal : kEndingSignals) ::sigaction(signal, &action, nullptr);
  }
  const int fd = ::open(kPagesFile, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return PosixError(errno, absl::StrCat("open ", kPagesFile, "; run as root"));
  const std::string text = absl::StrCat(pages, "\n");
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error = errno;
  ::close(fd);
  if (!written) return PosixError(error, absl::StrCat("write ", kPagesFile));
  return absl::OkStatus();
}

}  // namespace

HugePageReserve::HugePageReserve() = default;

HugePageReserve::~HugePageReserve() {
  Restore();
  g_before.fill('\0');
}

absl::Status HugePageReserve::Reserve(uint64_t bytes) {
  const uint64_t wanted = AlignUp(bytes, kHugePageBytes) / kHugePageBytes;
  for (int i = 0; i < kTriesMax; ++i) {
    const uint64_t free = ReadHostMemory().free_huge_bytes / kHugePageBytes;
    if (free >= wanted) return absl::OkStatus();
    RETURN_IF_ERROR(WritePages(ReadPages(kPagesFile) + wanted - free));
    // Only whole 2 MiB pages help; the kernel moves small ones together when asked.
    std::ofstream("/proc/sys/vm/compact_memory") << "1\n";
  }
  const uint64_t found = ReadHostMemory().free_huge_bytes;
  if (found >= bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "reserve ", FormatBytes(bytes), " of huge pages: the kernel found ", FormatBytes(found)));
}

absl::Status HugePageReserve::ReserveNone() {
  if (ReadHostMemory().free_huge_bytes == 0) return absl::OkStatus();
  return WritePages(0);
}

uint64_t ReservedHugeBytesHeld() {
  return ProcNumber(ReadProcFile("/proc/self/status"), "HugetlbPages").value_or(0);
}

}  // namespace weightd::bench

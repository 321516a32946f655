#include "tests/support/fake_cuda/report.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <mutex>

#include "tests/support/fake_cuda/fake_cuda.h"

namespace fake_cuda {
namespace {

struct Reports {
  std::mutex mu;
  std::deque<std::string> lines;
};

// Never destroyed: reports come from exit handlers too.
Reports& All() {
  static auto* reports = new Reports;
  return *reports;
}

// Whole or not at all; nobody is left to be told when it fails.
void WriteLine(int fd, const std::string& line) {
  const ssize_t written = ::write(fd, line.data(), line.size());
  (void)written;
}

}  // namespace

void Report(const std::string& line) {
  const std::string text = "fake_cuda: " + line + "\n";
  Reports& reports = All();
  const std::lock_guard lock(reports.mu);
  reports.lines.push_back(line + "\n");
  WriteLine(STDERR_FILENO, text);
  const char* path = std::getenv("WEIGHTD_FAKE_CUDA_REPORT");
  if (path == nullptr || *path == '\0') return;
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) return;
  WriteLine(fd, text);
  ::close(fd);
}

}  // namespace fake_cuda

size_t fake_cuda_take_reports(char* buffer, size_t size) {
  fake_cuda::Reports& reports = fake_cuda::All();
  const std::lock_guard lock(reports.mu);
  size_t used = 0;
  while (!reports.lines.empty() && used + reports.lines.front().size() <= size) {
    const std::string& line = reports.lines.front();
    used += line.copy(buffer + used, line.size());
    reports.lines.pop_front();
  }
  return used;
}

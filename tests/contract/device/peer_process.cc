#include "tests/contract/device/peer_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace weightd::testing {
namespace {

constexpr int kPassedFd = 3;

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Ours, without the names that `changes` sets again.
std::vector<std::string> Environment(const std::vector<std::string>& changes) {
  std::vector<std::string> result = changes;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    const std::string name = text.substr(0, text.find('=') + 1);
    bool changed = false;
    for (const std::string& change : changes) changed |= absl::StartsWith(change, name);
    if (!changed) result.push_back(text);
  }
  return result;
}

}  // namespace

PeerProcess::PeerProcess(const std::vector<std::string>& arguments,
                         const std::vector<std::string>& environment, int fd) {
  std::array<int, 2> input{};
  std::array<int, 2> output{};
  if (::pipe2(input.data(), O_CLOEXEC) != 0 || ::pipe2(output.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error("pipe2");
  }
  input_.reset(input[1]);
  output_.reset(output[0]);
  const UniqueFd child_input(input[0]);
  const UniqueFd child_output(output[1]);
  // dup2 onto itself would keep close-on-exec.
  const UniqueFd passed(fd >= 0 ? ::fcntl(fd, F_DUPFD_CLOEXEC, 10) : -1);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, child_input.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, child_output.get(), STDOUT_FILENO);
  if (passed.valid()) ::posix_spawn_file_actions_adddup2(&actions, passed.get(), kPassedFd);
  std::vector<std::string> argv_text = {WEIGHTD_DEVICE_PEER};
  argv_text.insert(argv_text.end(), arguments.begin(), arguments.end());
  std::vector<std::string> env_text = Environment(environment);
  const int error = ::posix_spawn(&pid_, WEIGHTD_DEVICE_PEER, &actions, nullptr,
                                  Pointers(argv_text).data(), Pointers(env_text).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error("posix_spawn " WEIGHTD_DEVICE_PEER);
}

PeerProcess::~PeerProcess() { Kill(); }

std::string PeerProcess::ReadLine() {
  std::string line;
  char next = 0;
  while (::read(output_.get(), &next, 1) == 1 && next != '\n') line.push_back(next);
  return line;
}

std::string PeerProcess::Finish() {
  input_.reset();
  std::string text;
  std::array<char, 4096> buffer{};
  ssize_t count = 0;
  while ((count = ::read(output_.get(), buffer.data(), buffer.size())) > 0) {
    text.append(buffer.data(), static_cast<size_t>(count));
  }
  Reap();
  return text;
}

void PeerProcess::Kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  Reap();
}

void PeerProcess::Reap() {
  if (pid_ < 0) return;
  ::waitpid(pid_, &wait_status_, 0);
  pid_ = -1;
}

std::string ValueOf(absl::string_view output, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(output, '\n')) {
    if (absl::ConsumePrefix(&line, name) && absl::ConsumePrefix(&line, "=")) {
      return std::string(line);
    }
  }
  return "(none)";
}

uint64_t Checksum(const void* memory, size_t bytes) {
  uint64_t sum = 0xcbf29ce484222325;
  const auto* data = static_cast<const unsigned char*>(memory);
  for (size_t i = 0; i < bytes; ++i) sum = (sum ^ data[i]) * 0x100000001b3;
  return sum;
}

}  // namespace weightd::testing

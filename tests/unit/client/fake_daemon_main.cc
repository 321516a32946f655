#include <spawn.h>
#include <sys/wait.h>

#include <cstdlib>
#include <iostream>
#include <vector>

#include "common/socket_paths.h"
#include "tests/unit/client/fake_grant.h"
#include "tests/unit/client/fake_service.h"

// fake_daemon SOCKET_DIR COUNT COMMAND...: runs COMMAND with WEIGHTD_SOCKET_DIR set, while every
// Attach there gets a grant; COUNT 0 is SmallGrant(), else LargeGrant(COUNT). Its exit code is the
// command's.
int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: fake_daemon SOCKET_DIR COUNT COMMAND...\n";
    return 2;
  }
  const uint64_t count = std::strtoull(argv[2], nullptr, 10);
  weightd::testing::FakeService service(argv[1]);
  const weightd::testing::Grant grant =
      count == 0 ? weightd::testing::SmallGrant() : weightd::testing::LargeGrant(count);
  service.SetAttach({.messages = grant.Messages(), .end = {}});
  weightd::testing::HandleScript handles;
  handles.fds.push_back(weightd::testing::MakeSealedMemfd(
      count == 0 ? weightd::testing::SmallContent() : std::string(count * 64, '\1')));
  service.SetHandles(std::move(handles));

  ::setenv(weightd::kSocketDirVariable, argv[1], 1);
  pid_t child = 0;
  if (::posix_spawnp(&child, argv[3], nullptr, nullptr, argv + 3, environ) != 0) {
    std::cerr << "cannot start " << argv[3] << '\n';
    return 1;
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

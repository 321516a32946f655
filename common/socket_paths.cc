#include "common/socket_paths.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace weightd {

namespace {

std::string DefaultSocketDir() {
  if (::geteuid() == 0) return "/run/weightd";
  if (const char* dir = std::getenv("XDG_RUNTIME_DIR"); dir != nullptr && *dir != '\0') {
    return absl::StrCat(dir, "/weightd");
  }
  return absl::StrCat("/tmp/weightd-", ::geteuid());
}

}  // namespace

SocketDirectory ResolveSocketDir(absl::string_view given) {
  if (!given.empty()) return std::string(given);
  if (const char* dir = std::getenv(kSocketDirVariable); dir != nullptr && *dir != '\0') {
    return dir;
  }
  return {DefaultSocketDir(), true};
}

std::string RpcSocketPath(absl::string_view dir) { return absl::StrCat(dir, "/weightd.sock"); }
std::string HandleSocketPath(absl::string_view dir) { return absl::StrCat(dir, "/handles.sock"); }
std::string LockFilePath(absl::string_view dir) { return absl::StrCat(dir, "/weightd.lock"); }

}  // namespace weightd

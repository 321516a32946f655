#include "daemon/residency/state_lock.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/durable_files.h"
#include "common/printable_text.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

constexpr size_t kHolderBytesMax = 256;
constexpr uint32_t kMode = 0600;

std::string LockPath(const std::string& path) {
  const size_t slash = path.rfind('/');
  return absl::StrCat(DirectoryOf(path), "/.",
                      slash == std::string::npos ? path : path.substr(slash + 1), ".lock");
}

// What the daemon that has it wrote: for people.
std::string Holder(const VolumeFile& file) {
  std::array<char, kHolderBytesMax> text{};
  const ssize_t got = file.Read(absl::MakeSpan(text));
  const absl::string_view said(text.data(), static_cast<size_t>(std::max<ssize_t>(got, 0)));
  return PrintableText(said.substr(0, said.find('\n')));
}

}  // namespace

absl::StatusOr<StateLock> StateLock::Take(const std::string& path, absl::string_view self) {
  // Without a file there is nothing to write over, and its directory stays as it is.
  if (!VolumeFile::Open(path, O_PATH, 0, path).ok()) return StateLock(nullptr);
  const std::string lock_path = LockPath(path);
  absl::StatusOr<VolumeFile> file =
      VolumeFile::Open(lock_path, O_RDWR | O_CREAT | O_NOFOLLOW, kMode, lock_path);
  if (!file.ok()) return StateLock(nullptr);
  if (file->TryLock() != 0) {
    if (errno != EWOULDBLOCK) return StateLock(nullptr);
    const std::string holder = Holder(*file);
    return absl::FailedPreconditionError(
        absl::StrCat("state file ", path, " is kept by another weightd",
                     holder.empty() ? "" : absl::StrCat(" (", holder, ")"),
                     "; give each one its own with --state-file, or stop that one and start this "
                     "one again"));
  }
  // Who has it is told as well as that can be.
  if (file->Truncate() == 0) (void)file->Write(absl::StrCat(self, "\n"));
  return StateLock(std::make_unique<VolumeFile>(*std::move(file)));
}

}  // namespace weightd

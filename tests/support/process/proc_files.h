#ifndef WEIGHTD_TESTS_SUPPORT_PROCESS_PROC_FILES_H_
#define WEIGHTD_TESTS_SUPPORT_PROCESS_PROC_FILES_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// What the kernel tells of a process, below /proc (proc(5)). Thread-safe.

namespace weightd::testing {

// Bytes, of a line "NAME:   123 kB" of the file; none without such a line or file.
std::optional<uint64_t> ReadProcBytes(const std::string& path, absl::string_view name);

// Files below `folder` that the process has open or mapped, removed ones included, sorted.
// NOT_FOUND for a process that is gone.
absl::StatusOr<std::vector<std::string>> ListFilesBelow(pid_t pid, const std::string& folder);

// What each descriptor leads to: "socket:[123]", "/memfd:weightd (deleted)". NOT_FOUND for a
// process that is gone.
absl::StatusOr<std::vector<std::string>> ListDescriptors(pid_t pid);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_PROCESS_PROC_FILES_H_

#ifndef WEIGHTD_DAEMON_CONFIG_CONFIG_FILE_H_
#define WEIGHTD_DAEMON_CONFIG_CONFIG_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/config/config.pb.h"

namespace weightd {

// Parses protobuf text format. INVALID_ARGUMENT with "<name>:<line>:<column>: <what>" for each
// error, unknown fields included; lines and columns count from 1.
absl::StatusOr<config::Config> ParseConfig(absl::string_view text, const std::string& name);

// Reads a file of at most 1 MiB and parses it.
absl::StatusOr<config::Config> ReadConfigFile(const std::string& path);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CONFIG_CONFIG_FILE_H_

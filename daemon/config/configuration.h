#ifndef WEIGHTD_DAEMON_CONFIG_CONFIGURATION_H_
#define WEIGHTD_DAEMON_CONFIG_CONFIGURATION_H_

#include <string>

#include "absl/status/statusor.h"
#include "daemon/config/config.pb.h"
#include "daemon/config/config_flags.h"
#include "daemon/config/daemon_options.h"

namespace weightd {

// What was given, and what it means.
struct Configuration {
  config::Config config;
  DaemonOptions options;
};

// Reads the file, if `path` is not empty, and sets the flags on top of it. Errors as of
// ReadConfigFile, ConfigFlags::Apply and MakeDaemonOptions.
absl::StatusOr<Configuration> LoadConfiguration(const std::string& path, const ConfigFlags& flags);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CONFIG_CONFIGURATION_H_

#include "daemon/config/configuration.h"

#include <utility>

#include "common/status_macros.h"
#include "daemon/config/config_file.h"

namespace weightd {

absl::StatusOr<Configuration> LoadConfiguration(const std::string& path, const ConfigFlags& flags) {
  Configuration loaded;
  if (!path.empty()) {
    ASSIGN_OR_RETURN(loaded.config, ReadConfigFile(path));
  }
  RETURN_IF_ERROR(flags.Apply(loaded.config));
  ASSIGN_OR_RETURN(loaded.options, MakeDaemonOptions(loaded.config));
  return loaded;
}

}  // namespace weightd

#ifndef WEIGHTD_DAEMON_CONFIG_CONFIG_FLAGS_H_
#define WEIGHTD_DAEMON_CONFIG_CONFIG_FLAGS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "daemon/config/config.pb.h"

namespace CLI {
class App;
}  // namespace CLI

namespace weightd {

// A flag for every setting of the configuration's schema, made from its descriptor, so that none
// can be forgotten. Thread-compatible.
class ConfigFlags {
 public:
  // Adds the flags to `app`, which must not outlive this object. `socket_dir` becomes --socket-dir
  // (and --socket_dir), `storage { engine }` --storage.engine.
  void AddTo(CLI::App& app);

  // After parsing: sets what was given. INVALID_ARGUMENT with the flag, its value and its type.
  absl::Status Apply(config::Config& config) const;

 private:
  std::map<std::string, std::vector<std::string>> values_;  // by path, "storage.engine"
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CONFIG_CONFIG_FLAGS_H_

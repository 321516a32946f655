#ifndef WEIGHTD_DAEMON_CONFIG_SETTINGS_H_
#define WEIGHTD_DAEMON_CONFIG_SETTINGS_H_

#include <google/protobuf/descriptor.h>

#include <functional>
#include <string>
#include <vector>

#include "daemon/config/config.pb.h"

// The settings of the configuration's schema: what can be given, one by one. Pure functions.

namespace weightd {

// A setting's path, "storage.engine", and its field. Groups (singular messages) are no settings;
// a list is one.
void ForEachSetting(
    const std::function<void(const std::string& path,
                             const google::protobuf::FieldDescriptor& field)>& visit);

// Whether it is read again on SIGHUP.
bool IsReloaded(const google::protobuf::FieldDescriptor& field);

// What help calls its value: "NUMBER", "TEXT", "AUTO|URING|PREAD".
std::string SettingTypeName(const google::protobuf::FieldDescriptor& field);
// What it means, and whether it is read again on SIGHUP.
std::string SettingHelp(const google::protobuf::FieldDescriptor& field);

// Paths of the settings that differ, in the schema's order: of those that are read again on SIGHUP,
// and of the others.
struct ChangedSettings {
  std::vector<std::string> reloaded;
  std::vector<std::string> fixed;
};
// One that is given with its default differs from one that is not given.
ChangedSettings CompareSettings(const config::Config& before, const config::Config& after);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CONFIG_SETTINGS_H_

#include "daemon/config/config_flags.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/status_macros.h"
#include "daemon/config/settings.h"

namespace weightd {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::string FlagNames(const std::string& path) {
  const std::string dashed = absl::StrReplaceAll(path, {{"_", "-"}});
  if (dashed == path) return absl::StrCat("--", path);
  return absl::StrCat("--", dashed, ",--", path);
}

// What is wrong is said once, by Apply(); protobuf would print it, too.
class Silent final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, int, const std::string&) override {}
};

bool SetValue(const FieldDescriptor& field, const std::string& value, Message& message) {
  const Reflection& reflection = *message.GetReflection();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    if (field.is_repeated()) {
      reflection.AddString(&message, &field, value);
    } else {
      reflection.SetString(&message, &field, value);
    }
    return true;
  }
  Silent errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  if (field.message_type() != nullptr) {
    return parser.ParseFromString(value, reflection.AddMessage(&message, &field));
  }
  return parser.ParseFieldValueFromString(value, &field, &message);
}

// The message that `path`'s last component is a field of, made where it is not there.
Message& Owner(const std::string& path, Message& root) {
  Message* owner = &root;
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    const FieldDescriptor* group = owner->GetDescriptor()->FindFieldByName(parts[i]);
    owner = owner->GetReflection()->MutableMessage(owner, group);
  }
  return *owner;
}

}  // namespace

void ConfigFlags::AddTo(CLI::App& app) {
  ForEachSetting([&](const std::string& path, const FieldDescriptor& field) {
    CLI::Option* option = app.add_option(FlagNames(path), values_[path], SettingHelp(field));
    option->type_name(SettingTypeName(field))->group("Settings")->allow_extra_args(false);
    option->expected(1)->multi_option_policy(
        field.is_repeated() ? CLI::MultiOptionPolicy::TakeAll : CLI::MultiOptionPolicy::TakeLast);
  });
}

absl::Status ConfigFlags::Apply(config::Config& config) const {
  absl::Status status;
  ForEachSetting([&](const std::string& path, const FieldDescriptor& field) {
    const auto given = values_.find(path);
    if (given == values_.end() || given->second.empty() || !status.ok()) return;
    Message& owner = Owner(path, config);
    owner.GetReflection()->ClearField(&owner, &field);
    for (const std::string& value : given->second) {
      if (SetValue(field, value, owner)) continue;
      status = absl::InvalidArgumentError(
          absl::StrCat("--", absl::StrReplaceAll(path, {{"_", "-"}}), ": got \"", value,
                       "\", wanted ", SettingTypeName(field)));
      return;
    }
  });
  return status;
}

}  // namespace weightd

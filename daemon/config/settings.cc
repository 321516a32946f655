#include "daemon/config/settings.h"

#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/util/message_differencer.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace weightd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::util::MessageDifferencer;

using Visit = std::function<void(const std::string&, const FieldDescriptor&)>;

// Singular messages are groups of settings; everything else is a setting.
bool IsGroup(const FieldDescriptor& field) {
  return field.message_type() != nullptr && !field.is_repeated();
}

void Walk(const Descriptor& descriptor, const std::string& prefix, const Visit& visit) {
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    const std::string path = absl::StrCat(prefix, field.name());
    if (IsGroup(field)) {
      Walk(*field.message_type(), absl::StrCat(path, "."), visit);
    } else {
      visit(path, field);
    }
  }
}

// The message that `path`'s last component is a field of; the schema's empty one where it is not
// there.
const Message& Owner(const std::string& path, const Message& root) {
  const Message* owner = &root;
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    const FieldDescriptor* group = owner->GetDescriptor()->FindFieldByName(parts[i]);
    owner = &owner->GetReflection()->GetMessage(*owner, group);
  }
  return *owner;
}

bool Same(const Message& before, const Message& after, const FieldDescriptor& field) {
  MessageDifferencer differencer;
  return differencer.CompareWithFields(before, after, {&field}, {&field});
}

std::string EnumNames(const FieldDescriptor& field) {
  std::string names;
  for (int i = 0; i < field.enum_type()->value_count(); ++i) {
    absl::StrAppend(&names, i == 0 ? "" : "|", field.enum_type()->value(i)->name());
  }
  return names;
}

}  // namespace

std::string SettingTypeName(const FieldDescriptor& field) {
  if (field.enum_type() != nullptr) return EnumNames(field);
  if (field.message_type() != nullptr) return "TEXTPROTO";
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) return "true|false";
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) return "TEXT";
  return "NUMBER";
}

std::string SettingHelp(const FieldDescriptor& field) {
  return absl::StrCat(field.options().GetExtension(config::help),
                      IsReloaded(field) ? " Read again on SIGHUP." : "");
}

void ForEachSetting(const Visit& visit) { Walk(*config::Config::descriptor(), "", visit); }

bool IsReloaded(const FieldDescriptor& field) {
  return field.options().GetExtension(config::reload);
}

ChangedSettings CompareSettings(const config::Config& before, const config::Config& after) {
  ChangedSettings changed;
  ForEachSetting([&](const std::string& path, const FieldDescriptor& field) {
    if (Same(Owner(path, before), Owner(path, after), field)) return;
    (IsReloaded(field) ? changed.reloaded : changed.fixed).push_back(path);
  });
  return changed;
}

}  // namespace weightd

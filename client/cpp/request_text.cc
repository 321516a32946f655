#include "client/cpp/request_text.h"

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/errors.h"
#include "common/printable_text.h"
#include "common/status_macros.h"

namespace weightd::client {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

absl::Status CheckText(const FieldDescriptor& field, const std::string& text) {
  if (FindInvalidUtf8(text) == absl::string_view::npos) return absl::OkStatus();
  return ErrorWithReason(
      absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
      absl::StrCat(field.name(), " `", PrintableText(text), "` is not UTF-8, as all names are"));
}

}  // namespace

absl::Status CheckTexts(const Message& request) {
  const google::protobuf::Reflection* reflection = request.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(request, &fields);
  for (const FieldDescriptor* field : fields) {
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (!is_message && field->type() != FieldDescriptor::TYPE_STRING) continue;
    if (!field->is_repeated()) {
      RETURN_IF_ERROR(is_message ? CheckTexts(reflection->GetMessage(request, field))
                                 : CheckText(*field, reflection->GetString(request, field)));
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(request, field); ++i) {
      RETURN_IF_ERROR(is_message
                          ? CheckTexts(reflection->GetRepeatedMessage(request, field, i))
                          : CheckText(*field, reflection->GetRepeatedString(request, field, i)));
    }
  }
  return absl::OkStatus();
}

}  // namespace weightd::client

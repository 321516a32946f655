#include "daemon/service/request_names.h"

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/catalog/model_name.h"

namespace weightd {
namespace {

constexpr absl::string_view kCut = "...";

absl::Status CheckLength(absl::string_view field, const std::string& name, size_t bytes_max) {
  if (name.size() <= bytes_max) return absl::OkStatus();
  return ErrorWithReason(
      absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
      absl::StrCat(field, " has ", name.size(), " bytes, wanted at most ", bytes_max));
}

}  // namespace

absl::Status CheckNames(const std::string& model, const std::string& device) {
  RETURN_IF_ERROR(CheckLength("model", model, kModelNameBytesMax));
  return CheckLength("device", device, kDeviceBytesMax);
}

absl::Status CheckNames(const v1::AttachRequest& request) {
  RETURN_IF_ERROR(CheckNames(request.model(), request.device()));
  return CheckLength("client_name", request.client_name(), kClientNameBytesMax);
}

absl::Status CheckNames(const v1::StageModelRequest& request) {
  RETURN_IF_ERROR(CheckNames(request.model()));
  if (request.devices_size() > kDevicesMax) {
    return ErrorWithReason(
        absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
        absl::StrCat("devices has ", request.devices_size(), ", wanted at most ", kDevicesMax));
  }
  for (const std::string& device : request.devices()) {
    RETURN_IF_ERROR(CheckLength("devices", device, kDeviceBytesMax));
  }
  return absl::OkStatus();
}

std::string Shortened(const std::string& name) {
  if (name.size() <= kModelNameBytesMax) return name;
  // Not within a character.
  size_t end = kModelNameBytesMax - kCut.size();
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xc0) == 0x80) --end;
  return absl::StrCat(name.substr(0, end), kCut);
}

}  // namespace weightd

#include "daemon/residency/saved_state.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/bounded_call.h"
#include "common/durable_files.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/volume_file.h"
#include "daemon/catalog/catalog.h"

namespace weightd {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr uint64_t kFileBytesMax = 4 * kMiB;
constexpr uint32_t kMode = 0600;

absl::Status Invalid(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("state: ", what));
}

// The member's text, which may be missing: then it is empty.
absl::StatusOr<std::string> Text(const Json& object, const char* member) {
  const auto found = object.find(member);
  if (found == object.end()) return std::string();
  if (!found->is_string()) return Invalid(absl::StrCat(member, " is no string"));
  return found->get<std::string>();
}

absl::StatusOr<std::vector<Json>> Entries(const Json& document, const char* member) {
  const auto found = document.find(member);
  if (found == document.end()) return std::vector<Json>();
  if (!found->is_array() || found->size() > kSavedMax) {
    return Invalid(absl::StrCat(member, " is no list of at most ", kSavedMax));
  }
  for (const Json& entry : *found) {
    if (!entry.is_object()) return Invalid(absl::StrCat(member, " holds what is no object"));
  }
  return std::vector<Json>(found->begin(), found->end());
}

absl::StatusOr<Pin> ParsePin(const Json& entry) {
  Pin pin;
  ASSIGN_OR_RETURN(pin.model, Text(entry, "model"));
  ASSIGN_OR_RETURN(pin.asked_revision, Text(entry, "revision"));
  ASSIGN_OR_RETURN(pin.device, Text(entry, "device"));
  if (!ValidateModelName(pin.model).ok() || pin.device.empty())
    return Invalid("a pin names nothing");
  return pin;
}

absl::Status ParseUse(const Json& entry, LastUses& uses) {
  ASSIGN_OR_RETURN(const std::string model, Text(entry, "model"));
  ASSIGN_OR_RETURN(const std::string device, Text(entry, "device"));
  const auto time = entry.find("time_ns");
  if (time == entry.end() || !time->is_number_integer()) return Invalid("a use has no time_ns");
  if (!ValidateModelName(model).ok() || device.empty()) return Invalid("a use names nothing");
  uses[{model, device}] = absl::FromUnixNanos(time->get<int64_t>());
  return absl::OkStatus();
}

absl::Status MakeDirectoryOf(const std::string& path) {
  const std::string directory = DirectoryOf(path);
  if (VolumeMkdir(directory, 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return PosixError(errno, absl::StrCat("make ", directory));
}

absl::Status CheckNoDirectory(const std::string& path) {
  if (!VolumeFile::Open(path, O_PATH | O_DIRECTORY, 0, path).ok()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("state file ", path, " is a directory; name a file in it, like ", path,
                   absl::EndsWith(path, "/") ? "" : "/", "state.json"));
}

}  // namespace

std::string FormatSavedState(const SavedState& state) {
  Json pins = Json::array();
  for (const Pin& pin : state.pins) {
    if (pins.size() == kSavedMax) break;
    pins.push_back(
        {{"model", pin.model}, {"revision", pin.asked_revision}, {"device", pin.device}});
  }
  std::vector<std::pair<absl::Time, std::pair<std::string, std::string>>> latest;
  for (const auto& [where, time] : state.last_uses) latest.push_back({time, where});
  std::sort(latest.rbegin(), latest.rend());
  if (latest.size() > kSavedMax) latest.resize(kSavedMax);
  Json uses = Json::array();
  for (const auto& [time, where] : latest) {
    uses.push_back(
        {{"model", where.first}, {"device", where.second}, {"time_ns", absl::ToUnixNanos(time)}});
  }
  const Json document = {
      {"format", kFormat}, {"pins", std::move(pins)}, {"last_uses", std::move(uses)}};
  return document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<SavedState> ParseSavedState(absl::string_view text) {
  const Json document = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded() || !document.is_object()) return Invalid("no JSON object");
  const auto format = document.find("format");
  if (format == document.end() || !format->is_number_integer()) return Invalid("it has no format");
  if (*format != kFormat) {
    return Invalid(absl::StrCat("format ", format->dump(), ", this daemon knows ", kFormat));
  }
  SavedState state;
  ASSIGN_OR_RETURN(const std::vector<Json> pins, Entries(document, "pins"));
  for (const Json& entry : pins) {
    ASSIGN_OR_RETURN(Pin pin, ParsePin(entry));
    state.pins.push_back(std::move(pin));
  }
  ASSIGN_OR_RETURN(const std::vector<Json> uses, Entries(document, "last_uses"));
  for (const Json& entry : uses) RETURN_IF_ERROR(ParseUse(entry, state.last_uses));
  return state;
}

absl::StatusOr<SavedState> LoadSavedState(const std::string& path) {
  RETURN_IF_ERROR(CheckNoDirectory(path));
  std::string text(kFileBytesMax + 1, '\0');
  const absl::StatusOr<size_t> bytes = ReadVolumeFile(path, absl::MakeSpan(text), path);
  if (absl::IsNotFound(bytes.status())) return SavedState();
  if (!bytes.ok()) return bytes.status();
  if (*bytes > kFileBytesMax) return Invalid(absl::StrCat(path, " is above 4 MiB"));
  text.resize(*bytes);
  absl::StatusOr<SavedState> state = ParseSavedState(text);
  return state.ok() ? state : Annotate(state.status(), path);
}

absl::StatusOr<OwnedState> LoadOwnedState(const std::string& path, const std::string& self,
                                          absl::Duration timeout) {
  const auto load = [path, self]() -> absl::StatusOr<OwnedState> {
    RETURN_IF_ERROR(CheckNoDirectory(path));
    (void)MakeDirectoryOf(path);  // what cannot be made is told when it is written
    ASSIGN_OR_RETURN(StateLock lock, StateLock::Take(path, self));
    return OwnedState{.state = LoadSavedState(path), .lock = std::move(lock)};
  };
  return CallWithin<OwnedState>(timeout, absl::StrCat("read ", path), load);
}

absl::Status StoreSavedState(const std::string& path, absl::string_view text) {
  RETURN_IF_ERROR(MakeDirectoryOf(path));
  return StoreFile(path, text, kMode);
}

absl::Status ProbeSavedState(const std::string& path) {
  RETURN_IF_ERROR(MakeDirectoryOf(path));
  return ProbeStoreFile(path, kMode);
}

}  // namespace weightd

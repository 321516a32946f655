#include "common/errors.h"

#include <sys/resource.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace weightd {
namespace {

constexpr absl::string_view kReasonPayload = "weightd/reason";
constexpr absl::string_view kMetadataPayload = "weightd/metadata";

constexpr std::array<std::pair<Reason, absl::string_view>, 26> kReasonNames = {{
    {Reason::kModelNotFound, "MODEL_NOT_FOUND"},
    {Reason::kModelNotResident, "MODEL_NOT_RESIDENT"},
    {Reason::kModelBusy, "MODEL_BUSY"},
    {Reason::kModelLeased, "MODEL_LEASED"},
    {Reason::kCheckpointInvalid, "CHECKPOINT_INVALID"},
    {Reason::kCheckpointChanged, "CHECKPOINT_CHANGED"},
    {Reason::kReadFailed, "READ_FAILED"},
    {Reason::kPathOutsideRoot, "PATH_OUTSIDE_ROOT"},
    {Reason::kBudgetExceeded, "BUDGET_EXCEEDED"},
    {Reason::kLimitExceeded, "LIMIT_EXCEEDED"},
    {Reason::kDeviceNotFound, "DEVICE_NOT_FOUND"},
    {Reason::kDeviceFailed, "DEVICE_FAILED"},
    {Reason::kHandleUnusable, "HANDLE_UNUSABLE"},
    {Reason::kPermissionDenied, "PERMISSION_DENIED"},
    {Reason::kDraining, "DRAINING"},
    {Reason::kCancelled, "CANCELLED"},
    {Reason::kInvalidRequest, "INVALID_REQUEST"},
    {Reason::kTicketInvalid, "TICKET_INVALID"},
    {Reason::kUnreachable, "UNREACHABLE"},
    {Reason::kIntegrityFailed, "INTEGRITY_FAILED"},
    {Reason::kLeaseRevoked, "LEASE_REVOKED"},
    {Reason::kKeyMissing, "KEY_MISSING"},
    {Reason::kDigestMissing, "DIGEST_MISSING"},
    {Reason::kWaitTimeout, "WAIT_TIMEOUT"},
    {Reason::kVolumeBusy, "VOLUME_BUSY"},
    {Reason::kVolumeStuck, "VOLUME_STUCK"},
}};

absl::StatusCode CodeFromErrno(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::StatusCode::kNotFound;
    case EACCES:
    case EPERM:
      return absl::StatusCode::kPermissionDenied;
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
    case EDQUOT:
    case EFBIG:
      return absl::StatusCode::kResourceExhausted;
    case EIO:
    case ESTALE:
      return absl::StatusCode::kDataLoss;
    case EINTR:
    case EAGAIN:
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
      return absl::StatusCode::kUnavailable;
    case EINVAL:
    case ENAMETOOLONG:
      return absl::StatusCode::kInvalidArgument;
    case ENOSYS:
    case EOPNOTSUPP:
      return absl::StatusCode::kUnimplemented;
    case EEXIST:
    case EADDRINUSE:
      return absl::StatusCode::kAlreadyExists;
    case ETIMEDOUT:
      return absl::StatusCode::kDeadlineExceeded;
    default:
      return absl::StatusCode::kUnknown;
  }
}

// strerror is not thread-safe; the GNU strerror_r may or may not use the buffer.
std::string ErrnoText(int error) {
  std::array<char, 128> buffer{};
  return strerror_r(error, buffer.data(), buffer.size());
}

// What stands behind EFBIG, where it is not the file system.
std::string FileLimitText() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return "";
  return absl::StrCat("; files of this process may have ", limit.rlim_cur,
                      " bytes (RLIMIT_FSIZE): `ulimit -f`, or LimitFSIZE= of a unit, raises it");
}

}  // namespace

absl::string_view ReasonName(Reason reason) {
  for (const auto& [value, name] : kReasonNames) {
    if (value == reason) return name;
  }
  return kUnknownReason;
}

std::optional<Reason> ReasonFromName(absl::string_view name) {
  for (const auto& [value, known] : kReasonNames) {
    if (known == name) return value;
  }
  return std::nullopt;
}

absl::Status ErrorWithReason(absl::StatusCode code, Reason reason, absl::string_view message,
                             const std::map<std::string, std::string>& metadata) {
  absl::Status status(code, message);
  status.SetPayload(kReasonPayload, absl::Cord(ReasonName(reason)));
  if (!metadata.empty()) {
    // NUL cannot stand in a key or a value that we make, so it separates them.
    std::string text;
    for (const auto& [key, value] : metadata) {
      text.append(key).push_back('\0');
      text.append(value).push_back('\0');
    }
    status.SetPayload(kMetadataPayload, absl::Cord(text));
  }
  return status;
}

std::optional<Reason> GetReason(const absl::Status& status) {
  const auto payload = status.GetPayload(kReasonPayload);
  if (!payload.has_value()) return std::nullopt;
  return ReasonFromName(std::string(*payload));
}

absl::string_view ReasonWord(const absl::Status& status) {
  const auto reason = GetReason(status);
  return reason.has_value() ? ReasonName(*reason) : kUnknownReason;
}

std::vector<absl::string_view> ReasonWords() {
  std::vector<absl::string_view> words = {kUnknownReason};
  for (const auto& [reason, name] : kReasonNames) words.push_back(name);
  return words;
}

std::map<std::string, std::string> GetReasonMetadata(const absl::Status& status) {
  std::map<std::string, std::string> metadata;
  const auto payload = status.GetPayload(kMetadataPayload);
  if (!payload.has_value()) return metadata;
  const std::vector<std::string> parts = absl::StrSplit(std::string(*payload), '\0');
  for (size_t i = 0; i + 1 < parts.size(); i += 2) metadata[parts[i]] = parts[i + 1];
  return metadata;
}

absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

absl::Status PosixError(int error, absl::string_view what) {
  return absl::Status(CodeFromErrno(error), absl::StrCat(what, ": ", ErrnoText(error),
                                                         error == EFBIG ? FileLimitText() : ""));
}

absl::Status ReadError(int error, absl::string_view file, uint64_t offset) {
  return ErrorWithReason(CodeFromErrno(error), Reason::kReadFailed,
                         absl::StrCat("read ", file, " at ", offset, ": ", ErrnoText(error)));
}

}  // namespace weightd

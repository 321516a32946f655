#include "client/cli/exit_codes.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace weightd::cli {
namespace {

struct ExitCodeRow {
  ExitCode code;
  const char* meaning;
};

constexpr ExitCodeRow kExitCodes[] = {
    {ExitCode::kOk, "ok"},
    {ExitCode::kError,
     "error that no other code names; or output was not written: a full disk, a reader that left"},
    {ExitCode::kUsage, "usage: the command line or a name in it is wrong"},
    {ExitCode::kNotFound, "not found: no such model, tensor or device"},
    {ExitCode::kNotReady, "not ready (not resident, busy, leased, draining) or timed out"},
    {ExitCode::kNotPermitted, "not permitted"},
    {ExitCode::kUnreachable, "daemon unreachable"},
    {ExitCode::kIntegrity, "integrity failure: a file is invalid, changed or its bytes differ"},
};

ExitCode OfReason(Reason reason) {
  switch (reason) {
    case Reason::kModelNotFound:
    case Reason::kDeviceNotFound:
      return ExitCode::kNotFound;
    case Reason::kModelNotResident:
    case Reason::kModelBusy:
    case Reason::kModelLeased:
    case Reason::kDraining:
    case Reason::kLeaseRevoked:
    case Reason::kWaitTimeout:
    case Reason::kVolumeBusy:
    case Reason::kVolumeStuck:
      return ExitCode::kNotReady;
    case Reason::kCheckpointInvalid:
    case Reason::kCheckpointChanged:
    case Reason::kIntegrityFailed:
    case Reason::kDigestMissing:
      return ExitCode::kIntegrity;
    case Reason::kPermissionDenied:
      return ExitCode::kNotPermitted;
    case Reason::kUnreachable:
      return ExitCode::kUnreachable;
    case Reason::kInvalidRequest:
      return ExitCode::kUsage;
    case Reason::kReadFailed:
    case Reason::kPathOutsideRoot:
    case Reason::kBudgetExceeded:
    case Reason::kLimitExceeded:
    case Reason::kDeviceFailed:
    case Reason::kHandleUnusable:
    case Reason::kCancelled:
    case Reason::kTicketInvalid:
    case Reason::kKeyMissing:
      return ExitCode::kError;
  }
  return ExitCode::kError;
}

ExitCode OfCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kInvalidArgument:
      return ExitCode::kUsage;
    case absl::StatusCode::kNotFound:
      return ExitCode::kNotFound;
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kFailedPrecondition:
      return ExitCode::kNotReady;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return ExitCode::kNotPermitted;
    case absl::StatusCode::kUnavailable:
      return ExitCode::kUnreachable;
    case absl::StatusCode::kDataLoss:
      return ExitCode::kIntegrity;
    default:
      return ExitCode::kError;
  }
}

}  // namespace

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return ExitCode::kOk;
  const std::optional<Reason> reason = GetReason(status);
  return reason.has_value() ? OfReason(*reason) : OfCode(status.code());
}

std::string ExitCodeHelp() {
  std::string text = "Exit codes:\n";
  for (const ExitCodeRow& row : kExitCodes) {
    absl::StrAppend(&text, "  ", static_cast<int>(row.code), "  ", row.meaning, "\n");
  }
  return text;
}

std::string HintFor(const absl::Status& status) {
  const std::optional<Reason> reason = GetReason(status);
  if (!reason.has_value()) {
    const bool late = status.code() == absl::StatusCode::kDeadlineExceeded;
    return late ? "--timeout gives it longer" : "";
  }
  switch (*reason) {
    case Reason::kModelNotFound:
      return "`weightctl ls` lists the models on the volume";
    case Reason::kModelNotResident:
      return "`weightctl ps` shows what is in memory, `weightctl stage MODEL --wait` brings a "
             "model there";
    case Reason::kModelLeased:
      return "`weightctl leases` shows who holds it; `weightctl evict --force` tells them and "
             "evicts";
    case Reason::kModelBusy:
      return "`weightctl ps` shows its state; a pinned model needs `weightctl unpin` first";
    case Reason::kDeviceNotFound:
      return "`weightctl status` lists the devices";
    case Reason::kBudgetExceeded:
      return "`weightctl ps` shows what takes the memory: evict or unpin, or raise the budget";
    case Reason::kPermissionDenied:
      return "the daemon's configuration lists who may attach and who may operate";
    case Reason::kCheckpointChanged:
      return "stage it again once the files no longer change";
    default:
      return "";
  }
}

}  // namespace weightd::cli

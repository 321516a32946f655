#ifndef WEIGHTD_STATUS_H_
#define WEIGHTD_STATUS_H_

#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

// How the library reports errors: a Status, or a Result<T> that is a T or a Status.
//
// The library throws nothing of its own. Both types are values: copy, move and destroy them on any
// thread; one object is not to be written by one thread while another reads it.

namespace weightd::client {

// What a caller can do about an error. The values are those of gRPC and absl::StatusCode.
enum class StatusCode : int {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,   // fix the request
  kDeadlineExceeded = 4,  // it took longer than AttachOptions::timeout
  kNotFound = 5,          // no such model, device or tensor
  kAlreadyExists = 6,
  kPermissionDenied = 7,    // ask the operator for access
  kResourceExhausted = 8,   // a limit or a budget is used up
  kFailedPrecondition = 9,  // change something first, e.g. stage the model
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,  // this build or this driver cannot do it
  kInternal = 13,       // the daemon sent what it must not send, or a bug
  kUnavailable = 14,    // no daemon answers, or it shuts down; try again later
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// "NOT_FOUND" and so on.
[[nodiscard]] constexpr std::string_view StatusCodeName(StatusCode code) {
  constexpr std::string_view kNames[] = {"OK",
                                         "CANCELLED",
                                         "UNKNOWN",
                                         "INVALID_ARGUMENT",
                                         "DEADLINE_EXCEEDED",
                                         "NOT_FOUND",
                                         "ALREADY_EXISTS",
                                         "PERMISSION_DENIED",
                                         "RESOURCE_EXHAUSTED",
                                         "FAILED_PRECONDITION",
                                         "ABORTED",
                                         "OUT_OF_RANGE",
                                         "UNIMPLEMENTED",
                                         "INTERNAL",
                                         "UNAVAILABLE",
                                         "DATA_LOSS",
                                         "UNAUTHENTICATED"};
  const auto index = static_cast<unsigned>(code);
  return index < std::size(kNames) ? kNames[index] : "UNKNOWN";
}

// Success, or an error: a code to branch on, a reason that says which error it is, and a message
// for people.
class [[nodiscard]] Status {
 public:
  // Success.
  Status() = default;
  Status(StatusCode code, std::string reason, std::string message)
      : code_(code), reason_(std::move(reason)), message_(std::move(message)) {}

  [[nodiscard]] bool ok() const { return code_ == StatusCode::kOk; }
  [[nodiscard]] StatusCode code() const { return code_; }
  // A stable word such as "MODEL_NOT_RESIDENT" or "UNREACHABLE", the one of the daemon's protocol.
  // Empty for an error that has none (a deadline, a broken message). Compare this, not the message.
  [[nodiscard]] const std::string& reason() const { return reason_; }
  // What was done, to what, and what went wrong. May change between releases.
  [[nodiscard]] const std::string& message() const { return message_; }

  // "OK", or "NOT_FOUND/MODEL_NOT_FOUND: attach llama: ...".
  [[nodiscard]] std::string ToString() const {
    std::string text(StatusCodeName(code_));
    if (ok()) return text;
    if (!reason_.empty()) text.append("/").append(reason_);
    return text.append(": ").append(message_);
  }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string reason_;
  std::string message_;
};

inline std::ostream& operator<<(std::ostream& out, const Status& status) {
  return out << status.ToString();
}

// A T, or the Status that says why there is none.
//
// `value()`, `*` and `->` need ok(); without it they throw std::bad_optional_access.
template <typename T>
class [[nodiscard]] Result {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): `return status;` is how a Result is made.
  Result(Status status) : status_(std::move(status)) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Result(T value) : value_(std::move(value)) {}

  [[nodiscard]] bool ok() const { return value_.has_value(); }
  // OK exactly when there is a value.
  [[nodiscard]] const Status& status() const { return status_; }

  [[nodiscard]] T& value() & { return value_.value(); }
  [[nodiscard]] const T& value() const& { return value_.value(); }
  [[nodiscard]] T&& value() && { return std::move(value_).value(); }
  T& operator*() & { return value_.value(); }
  const T& operator*() const& { return value_.value(); }
  T&& operator*() && { return std::move(value_).value(); }
  T* operator->() { return &value_.value(); }
  const T* operator->() const { return &value_.value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace weightd::client

#endif  // WEIGHTD_STATUS_H_

#ifndef WEIGHTD_COMMON_STATUS_MACROS_H_
#define WEIGHTD_COMMON_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the current function when `expr`, an absl::Status, is not OK.
//
// Debian 12's Abseil has no absl/status/status_macros.h; the names are those of the newer one, so
// that it can replace this file.
#define RETURN_IF_ERROR(expr)                                                                   \
  do {                                                                                          \
    if (::absl::Status weightd_status_ = (expr); !weightd_status_.ok()) return weightd_status_; \
  } while (false)

// Evaluates `rexpr`, an absl::StatusOr<T>; on success moves its value to `lhs`, else returns its
// status from the current function.
#define ASSIGN_OR_RETURN(lhs, rexpr) \
  WEIGHTD_ASSIGN_OR_RETURN_IMPL_(WEIGHTD_CONCAT_(weightd_statusor_, __LINE__), lhs, rexpr)

#define WEIGHTD_ASSIGN_OR_RETURN_IMPL_(statusor, lhs, rexpr) \
  auto statusor = (rexpr);                                   \
  if (!statusor.ok()) return std::move(statusor).status();   \
  lhs = *std::move(statusor)

#define WEIGHTD_CONCAT_INNER_(a, b) a##b
#define WEIGHTD_CONCAT_(a, b) WEIGHTD_CONCAT_INNER_(a, b)

#endif  // WEIGHTD_COMMON_STATUS_MACROS_H_

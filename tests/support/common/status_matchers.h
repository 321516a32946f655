#ifndef WEIGHTD_TESTS_SUPPORT_COMMON_STATUS_MATCHERS_H_
#define WEIGHTD_TESTS_SUPPORT_COMMON_STATUS_MATCHERS_H_

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

// Matchers for absl::Status and absl::StatusOr, for Abseils that lack
// absl/status/status_matchers.h; the names are those of the newer one.

namespace weightd::testing {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

// Code and message.
MATCHER_P2(StatusIs, code, message_matcher, "") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code &&
         ::testing::ExplainMatchResult(message_matcher, std::string(StatusOf(arg).message()),
                                       result_listener);
}

// Reason and message.
MATCHER_P2(ReasonIs, reason, message_matcher, "") {
  const auto actual = ::weightd::GetReason(StatusOf(arg));
  *result_listener << StatusOf(arg).ToString() << " with reason "
                   << (actual.has_value() ? std::string(::weightd::ReasonName(*actual)) : "none");
  return actual == reason &&
         ::testing::ExplainMatchResult(message_matcher, std::string(StatusOf(arg).message()),
                                       result_listener);
}

}  // namespace weightd::testing

#define EXPECT_OK(expression) EXPECT_THAT(expression, ::weightd::testing::IsOk())
#define ASSERT_OK(expression) ASSERT_THAT(expression, ::weightd::testing::IsOk())
#define ASSERT_OK_AND_ASSIGN(lhs, rexpr) \
  WEIGHTD_ASSERT_OK_AND_ASSIGN_IMPL_(WEIGHTD_TEST_CONCAT_(weightd_result_, __LINE__), lhs, rexpr)
#define WEIGHTD_ASSERT_OK_AND_ASSIGN_IMPL_(result, lhs, rexpr) \
  auto result = (rexpr);                                       \
  ASSERT_OK(result);                                           \
  lhs = *std::move(result)
#define WEIGHTD_TEST_CONCAT_INNER_(a, b) a##b
#define WEIGHTD_TEST_CONCAT_(a, b) WEIGHTD_TEST_CONCAT_INNER_(a, b)

#endif  // WEIGHTD_TESTS_SUPPORT_COMMON_STATUS_MATCHERS_H_

#include <cerrno>

#include "daemon/storage/read_queue.h"
#include "daemon/storage/uring.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

TEST(UringRefusalTest, NamesTheLikelyCauseAndTheFix) {
  EXPECT_THAT(UringRefusal(EPERM, "0"),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       "io_uring setup: operation not permitted; the seccomp profile likely blocks "
                       "it, see deploy/seccomp/ (or set storage.engine = PREAD)"));
  EXPECT_EQ(UringRefusal(EPERM, ""), UringRefusal(EPERM, "0"));
  EXPECT_THAT(UringRefusal(EPERM, "2"),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       "io_uring setup: operation not permitted; sysctl kernel.io_uring_disabled "
                       "is 2, set it to 0 (or set storage.engine = PREAD)"));
  EXPECT_THAT(UringRefusal(ENOSYS, ""),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("seccomp")));
  EXPECT_THAT(UringRefusal(ENOMEM, ""),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("RLIMIT_MEMLOCK")));
  EXPECT_THAT(UringRefusal(EMFILE, ""),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("RLIMIT_NOFILE")));
  EXPECT_THAT(UringRefusal(EINVAL, ""),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too old")));
}

TEST(ReadEngineNameTest, IsWhatLogsSay) {
  EXPECT_EQ(ReadEngineName(ReadEngine::kUring), "io_uring");
  EXPECT_EQ(ReadEngineName(ReadEngine::kPread), "pread");
  EXPECT_EQ(ReadEngineName(ReadEngine::kAuto), "auto");
}

}  // namespace
}  // namespace weightd::testing

#include "common/socket_paths.h"

#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace weightd {
namespace {

// Sets a variable for a scope, or takes it away.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name); old != nullptr) old_ = old;
    Set(value);
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;
  ~ScopedVariable() { Set(old_.has_value() ? old_->c_str() : nullptr); }

 private:
  void Set(const char* value) {
    if (value == nullptr) {
      ::unsetenv(name_);
    } else {
      ::setenv(name_, value, 1);
    }
  }

  const char* const name_;
  std::optional<std::string> old_;
};

TEST(SocketPathsTest, PrefersWhatIsGiven) {
  const ScopedVariable variable(kSocketDirVariable, "/from/variable");
  EXPECT_EQ(ResolveSocketDir("/given").path, "/given");
  EXPECT_EQ(ResolveSocketDir("").path, "/from/variable");
  EXPECT_FALSE(ResolveSocketDir("/given").is_default);
  EXPECT_FALSE(ResolveSocketDir("").is_default);
}

TEST(SocketPathsTest, FallsBackByUser) {
  const ScopedVariable variable(kSocketDirVariable, "");  // empty counts as unset
  const ScopedVariable runtime("XDG_RUNTIME_DIR", "/run/user/7");
  EXPECT_EQ(ResolveSocketDir("").path, ::geteuid() == 0 ? "/run/weightd" : "/run/user/7/weightd");
  EXPECT_TRUE(ResolveSocketDir("").is_default);
}

TEST(SocketPathsTest, FallsBackToTmpWithoutARuntimeDirectory) {
  if (::geteuid() == 0) GTEST_SKIP() << "root has /run/weightd";
  const ScopedVariable variable(kSocketDirVariable, nullptr);
  const ScopedVariable runtime("XDG_RUNTIME_DIR", nullptr);
  EXPECT_EQ(ResolveSocketDir("").path, absl::StrCat("/tmp/weightd-", ::geteuid()));
}

TEST(SocketPathsTest, NamesTheFilesOfADirectory) {
  EXPECT_EQ(RpcSocketPath("/d"), "/d/weightd.sock");
  EXPECT_EQ(HandleSocketPath("/d"), "/d/handles.sock");
  EXPECT_EQ(LockFilePath("/d"), "/d/weightd.lock");
}

}  // namespace
}  // namespace weightd

#ifndef WEIGHTD_TESTS_SUPPORT_COMMON_TEMP_DIR_H_
#define WEIGHTD_TESTS_SUPPORT_COMMON_TEMP_DIR_H_

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace weightd::testing {

// A new directory below $TEST_TMPDIR or /tmp that goes, with all in it, at the end of its scope.
class TempDir {
 public:
  TempDir() {
    const char* base = std::getenv("TEST_TMPDIR");
    std::string path = std::string(base != nullptr ? base : "/tmp") + "/weightd-test-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("mkdtemp " + path);
    path_ = path;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;  // what cannot be removed is left for the operator
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_COMMON_TEMP_DIR_H_

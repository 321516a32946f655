#ifndef WEIGHTD_TESTS_SUPPORT_COMMON_READ_FILE_H_
#define WEIGHTD_TESTS_SUPPORT_COMMON_READ_FILE_H_

#include <fstream>
#include <sstream>
#include <string>

namespace weightd::testing {

// Its bytes; none where it cannot be read.
inline std::string ReadFile(const std::string& path) {
  const std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_COMMON_READ_FILE_H_

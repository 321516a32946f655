#ifndef WEIGHTD_TESTS_CONTRACT_STORAGE_PIPE_FILE_H_
#define WEIGHTD_TESTS_CONTRACT_STORAGE_PIPE_FILE_H_

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/storage/descriptor_file.h"

namespace weightd::testing {

inline constexpr uint64_t kEndless = uint64_t{1} << 40;

// A pipe as a file of endless size: `write_end` decides what a read of it gives.
struct PipeFile {
  PipeFile()
      : file([&] {
          std::array<int, 2> ends{};
          EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
          write_end.reset(ends[1]);
          return DescriptorFile(UniqueFd(), UniqueFd(ends[0]), kEndless);
        }()) {}
  void Write(const std::string& bytes) const {
    EXPECT_EQ(write(write_end.get(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }
  UniqueFd write_end;
  DescriptorFile file;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_CONTRACT_STORAGE_PIPE_FILE_H_

// The preload that integration tests put in front of the daemon, in front of a small reader.

#include <array>
#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class FaultPreloadTest : public ::testing::Test {
 protected:
  FaultPreloadTest() { std::ofstream(dir_.File("model.safetensors")) << std::string(10'000, 'x'); }
  // What the reader says of 4096 bytes at `offset`, with `environment` set.
  std::string Read(const std::string& environment, int offset) {
    const std::string command = absl::StrCat(
        "ASAN_OPTIONS=verify_asan_link_order=0 TSAN_OPTIONS=report_bugs=0 "
        "LD_PRELOAD=" WEIGHTD_FAULT_PRELOAD " ",
        environment, " " WEIGHTD_FAULT_READER " ", dir_.path(), " model.safetensors ", offset,
        " 2>&1");
    FILE* pipe = popen(command.c_str(), "r");
    std::array<char, 4096> output{};
    const size_t length = fread(output.data(), 1, output.size(), pipe);
    pclose(pipe);
    return std::string(output.data(), length);
  }
  TempDir dir_;
};

TEST_F(FaultPreloadTest, IsQuietWithoutAFaultAndForOtherFiles) {
  EXPECT_EQ(Read("", 0), "OK\n");
  EXPECT_EQ(Read("WEIGHTD_FAULT_PATH=other.safetensors", 0), "OK\n");
}

TEST_F(FaultPreloadTest, FailsReadsThatTouchTheRange) {
  const std::string fault = "WEIGHTD_FAULT_PATH=model.safetensors WEIGHTD_FAULT_OFFSET=";
  EXPECT_THAT(Read(fault + "4095", 0),
              StartsWith("DATA_LOSS: read model.safetensors at 0: Input/output error"));
  EXPECT_EQ(Read(fault + "4096", 0), "OK\n");
  EXPECT_EQ(Read(fault + "4095", 4096), "OK\n");
  EXPECT_THAT(Read(fault + "4096-5000", 4608), HasSubstr("Input/output error"));
  EXPECT_EQ(Read(fault + "4096-5000", 5000), "OK\n");
  EXPECT_THAT(Read("WEIGHTD_FAULT_PATH=model.safetensors", 0), HasSubstr("Input/output error"));
}

TEST_F(FaultPreloadTest, FailsSoManyReads) {
  const std::string fault = "WEIGHTD_FAULT_PATH=model.safetensors WEIGHTD_FAULT_TIMES=";
  EXPECT_EQ(Read(fault + "2", 0), "OK\n");
  EXPECT_THAT(Read(fault + "1000", 0), HasSubstr("Interrupted system call"));
}

}  // namespace
}  // namespace weightd::testing

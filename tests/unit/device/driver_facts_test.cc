#include "daemon/device/driver_facts.h"

#include "gtest/gtest.h"

namespace weightd {
namespace {

TEST(DriverFactsTest, FindsTheModulesVersion) {
  EXPECT_EQ(ModuleVersion("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 "
                          "19:39:15 UTC 2024\nGCC version:  gcc version 12.2.0\n"),
            "535.183.01");
  EXPECT_EQ(ModuleVersion("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  "
                          "Release Build  (builder)"),
            "580.65.06");
  EXPECT_EQ(ModuleVersion("GCC version:  gcc version 12.2.0"), "");
  EXPECT_EQ(ModuleVersion(""), "");
}

}  // namespace
}  // namespace weightd

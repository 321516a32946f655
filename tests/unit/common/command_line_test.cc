#include "common/command_line.h"

#include "gmock/gmock.h"

namespace weightd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

template <size_t n>
std::vector<std::string> Reversed(const char* const (&arguments)[n]) {
  return ReversedArguments(static_cast<int>(n), arguments);
}

TEST(CommandLineTest, ArgumentsAreReversedWithoutTheProgram) {
  EXPECT_THAT(Reversed({"weightd", "--a", "b", "-c=d"}), ElementsAre("-c=d", "b", "--a"));
  EXPECT_THAT(Reversed({"weightd"}), IsEmpty());
  EXPECT_THAT(ReversedArguments(0, nullptr), IsEmpty());
}

TEST(CommandLineTest, EmptyValueIsAnArgumentOfItsOwn) {
  EXPECT_THAT(Reversed({"weightd", "--state-file=", "--a=b", "--c=d="}),
              ElementsAre("--c=d=", "--a=b", "", "--state-file"));
}

TEST(CommandLineTest, WhatFollowsTwoDashesIsLeftAlone) {
  EXPECT_THAT(Reversed({"weightctl", "--", "--name="}), ElementsAre("--name=", "--"));
}

}  // namespace
}  // namespace weightd

#include "common/proc_text.h"

#include "gmock/gmock.h"

namespace weightd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ProcTextTest, ReadsMemInfoInBytes) {
  constexpr absl::string_view kText =
      "MemTotal:       24105000 kB\nMemAvailable:   1024 kB\nHugePages_Free:        7\n";
  EXPECT_EQ(ProcNumber(kText, "MemAvailable"), 1024 * 1024);
  EXPECT_EQ(ProcNumber(kText, "HugePages_Free"), 7);
  EXPECT_EQ(ProcNumber(kText, "Mem"), std::nullopt);
  EXPECT_EQ(ProcNumber("MemTotal: much kB", "MemTotal"), std::nullopt);
  EXPECT_EQ(ProcNumber("", "MemTotal"), std::nullopt);
}

TEST(ProcTextTest, ReadsNumbersOfAProcessStatus) {
  const std::string text =
      "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t7\nHugepagesize:  2048 kB\n";
  EXPECT_EQ(ProcNumber(text, "NoNewPrivs"), 1u);
  EXPECT_EQ(ProcNumber(text, "Seccomp"), 2u);
  EXPECT_EQ(ProcNumber(text, "Hugepagesize"), 2048u * 1024);
  EXPECT_EQ(ProcNumber(text, "Privs"), std::nullopt) << "a name begins its line";
  EXPECT_EQ(ProcNumber("", "Seccomp"), std::nullopt);
  EXPECT_EQ(ProcNumber("Seccomp:", "Seccomp"), std::nullopt);
}

TEST(ProcTextTest, LineIsThatOfTheWholeFirstWord) {
  EXPECT_THAT(ProcLine("a_b 1\na \t2 x\n", "a"), ElementsAre("a", "2", "x"));
  EXPECT_THAT(ProcLine("a_b 1\n", "a"), IsEmpty());
}

TEST(ProcTextTest, FileThatIsNotThereIsEmpty) {
  EXPECT_EQ(ReadProcFile("/proc/self/nothing"), "");
  EXPECT_NE(ReadProcFile("/proc/self/status"), "");
}

}  // namespace
}  // namespace weightd

#include "common/environment_facts.h"

#include <sys/prctl.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace weightd {
namespace {

TEST(EnvironmentFactsTest, ReadsNumbersOfProc) {
  const std::string text =
      "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t7\nHugepagesize:  2048 kB\n";
  EXPECT_EQ(ProcNumber(text, "NoNewPrivs:"), 1u);
  EXPECT_EQ(ProcNumber(text, "Seccomp:"), 2u);
  EXPECT_EQ(ProcNumber(text, "Hugepagesize:"), 2048u);
  EXPECT_EQ(ProcNumber(text, "Privs:"), std::nullopt) << "a name begins its line";
  EXPECT_EQ(ProcNumber("", "Seccomp:"), std::nullopt);
  EXPECT_EQ(ProcNumber("Seccomp:", "Seccomp:"), std::nullopt);
}

TEST(EnvironmentFactsTest, FindsTheChosenWord) {
  EXPECT_EQ(ChosenWord("always [madvise] never\n"), "madvise");
  EXPECT_EQ(ChosenWord("[always] madvise"), "always");
  EXPECT_EQ(ChosenWord("always ] x [never"), "");
  EXPECT_EQ(ChosenWord(""), "");
}

TEST(EnvironmentFactsTest, ThisProcessIsWhatTheKernelSays) {
  const ProcessFacts facts = ReadProcessFacts();
  EXPECT_EQ(facts.uid, ::geteuid());
  EXPECT_EQ(facts.seccomp_mode, static_cast<uint32_t>(::prctl(PR_GET_SECCOMP)));
  EXPECT_NE(facts.pid_namespace, 0u);
  EXPECT_GT(facts.open_files_max, 0u);
  EXPECT_NE(ReadMachineFacts().kernel, "");
  EXPECT_GT(ReadMachineFacts().huge_page_bytes, 0u);
}

}  // namespace
}  // namespace weightd

#include "common/environment_facts.h"

#include <sys/prctl.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace weightd {
namespace {

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

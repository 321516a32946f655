#include "daemon/catalog/model_name.h"

#include <string>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/directory_files.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ModelNameTest, AcceptsWhatAModelCanBeCalled) {
  for (const std::string& name :
       {std::string("llama"), std::string("org/name"), std::string("a/b/c.d-e_f"),
        std::string("..."), std::string("caf\xC3\xA9"), std::string(512, 'x')}) {
    EXPECT_OK(ValidateModelName(name));
  }
}

TEST(ModelNameTest, RefusesWhatItCannot) {
  for (const std::string& name :
       {std::string(), std::string("/"), std::string("/a"), std::string("a/"), std::string("a//b"),
        std::string("."), std::string(".."), std::string("a/.."), std::string("a/./b"),
        std::string("a\0b", 3), std::string("a\x7F"), std::string("a\xFF"),
        std::string(513, 'x')}) {
    EXPECT_THAT(ValidateModelName(name), ReasonIs(Reason::kPathOutsideRoot, ::testing::_));
  }
}

TEST(ModelNameTest, DecodesHubDirectories) {
  EXPECT_TRUE(IsHubDirectory("models--org--name"));
  EXPECT_FALSE(IsHubDirectory("models--"));
  EXPECT_FALSE(IsHubDirectory("datasets--org--name"));
  EXPECT_EQ(ModelOfHubDirectory("models--org--name"), "org/name");
  EXPECT_EQ(ModelOfHubDirectory("models--gpt2"), "gpt2");
  EXPECT_EQ(ModelOfHubDirectory("models--a--b--c"), "a/b--c");
}

TEST(ModelNameTest, FindsNearMisses) {
  const std::vector<std::string> names = {"gpt2", "llama-3-8b", "llama-3-70b", "meta/Llama-3-8B"};
  EXPECT_THAT(NearMisses("LLAMA-3-8b", names),
              ElementsAre("llama-3-8b", "meta/Llama-3-8B", "llama-3-70b"));
  EXPECT_THAT(NearMisses("mistral", names), IsEmpty());
  EXPECT_THAT(NearMisses("gpt", names), ElementsAre("gpt2"));
}

// 10,000 names of 500 bytes are 2.5e9 comparisons, and others wait for who asked.
TEST(ModelNameTest, NearMissesOfLongNamesAreLookedForInSomeOfThem) {
  const std::string wanted(500, 'a');
  std::vector<std::string> names(100, std::string(500, 'b'));
  names.push_back(wanted + "a");
  names.push_back("other/" + wanted);
  EXPECT_THAT(NearMisses(wanted, names), ElementsAre("other/" + wanted));
  names.erase(names.begin(), names.begin() + 90);
  EXPECT_THAT(NearMisses(wanted, names), ElementsAre("other/" + wanted, wanted + "a"));
}

TEST(DirectoryFilesTest, CompletesNumberedShards) {
  EXPECT_THAT(CompleteShards({"a-00002-of-00003.safetensors", "b.safetensors"}, 10),
              ElementsAre("a-00001-of-00003.safetensors", "a-00002-of-00003.safetensors",
                          "a-00003-of-00003.safetensors", "b.safetensors"));
  const std::vector<std::string> plain = {"a-00000-of-00003.safetensors",
                                          "a-00004-of-00003.safetensors", "a-1-of-2.safetensors",
                                          "x-0000a-of-00003.safetensors"};
  EXPECT_EQ(CompleteShards(plain, 10), plain);
  // Ten sets of ten would be a hundred: one more than is allowed says it as well.
  std::vector<std::string> sets;
  for (char set = 'a'; set <= 'j'; ++set) {
    sets.push_back(std::string(1, set) + "-00001-of-00010.safetensors");
  }
  EXPECT_EQ(CompleteShards(sets, 20).size(), 21U);
  EXPECT_EQ(CompleteShards(sets, 5), sets);
  EXPECT_THAT(CompleteShards({"a-00001-of-00011.safetensors"}, 10),
              ElementsAre("a-00001-of-00011.safetensors"));
}

}  // namespace
}  // namespace weightd::testing

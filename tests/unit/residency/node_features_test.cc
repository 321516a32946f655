#include "daemon/residency/node_features.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"

namespace weightd {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr const char* kLabel = "[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?";

CopyInfo Copy(const std::string& model, DeviceKind kind, int64_t last_use = 0) {
  CopyInfo copy;
  copy.model = model;
  copy.device_kind = kind;
  copy.state = ResidencyState::kResident;
  copy.last_use = absl::FromUnixSeconds(last_use);
  return copy;
}

TEST(NodeFeatureNameTest, NameThatIsALabelStaysAndSlashesAreDoubleDashes) {
  EXPECT_EQ(NodeFeatureName("demo"), "demo");
  EXPECT_EQ(NodeFeatureName("meta-llama/Llama-3.1-8B"), "meta-llama--Llama-3.1-8B");
}

TEST(NodeFeatureNameTest, EveryOtherNameIsMadeALabelOfItsOwn) {
  const std::vector<std::string> models = {
      std::string(64, 'a'), std::string(65, 'a'),      "a b",  "a c b", "b.", "b_", "_", "-/-",
      "\xc3\xbc",           std::string(1000, '\xff'), "a\nb", "x=y",   ""};
  std::vector<std::string> names;
  for (const std::string& model : models) {
    names.push_back(NodeFeatureName(model));
    EXPECT_LE(names.back().size(), 63u) << model;
    EXPECT_THAT(names.back(), MatchesRegex(kLabel)) << model;
  }
  for (size_t i = 0; i < names.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(names[i], names[j]) << models[i] << " " << models[j];
  }
  EXPECT_THAT(NodeFeatureName("a b"), MatchesRegex("ab-[0-9a-f]*"));
}

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);
constexpr const char* kExpiry = "# +expiry-time=2023-11-14T22:18:20Z\n";

TEST(NodeFeaturesTest, TellsWhereEachModelIsOnce) {
  EXPECT_EQ(FormatNodeFeatures({Copy("org/b", DeviceKind::kHost), Copy("a", DeviceKind::kHost),
                                Copy("a", DeviceKind::kCuda)},
                               kNow),
            std::string(kExpiry) +
                "weightd.feature.node.kubernetes.io/a=device\n"
                "weightd.feature.node.kubernetes.io/org--b=host\n");
}

TEST(NodeFeaturesTest, TellsOnlyWhatAnAttachFinds) {
  CopyInfo staging = Copy("a", DeviceKind::kHost);
  staging.state = ResidencyState::kStaging;
  CopyInfo old = Copy("b", DeviceKind::kHost);
  old.superseded = true;
  CopyInfo damaged = Copy("c", DeviceKind::kHost);
  damaged.damaged = true;
  CopyInfo branch = Copy("d", DeviceKind::kHost);
  branch.asked_revision = "dev";
  branch.asked_as = {"dev"};
  EXPECT_EQ(FormatNodeFeatures({staging, old, damaged, branch}, kNow), kExpiry);
}

TEST(NodeFeaturesTest, OfTooManyTheLastUsedAreTold) {
  std::vector<CopyInfo> copies;
  for (int i = 0; i < 150; ++i) copies.push_back(Copy(absl::StrCat("m", i), DeviceKind::kHost, i));
  const std::string text = FormatNodeFeatures(copies, kNow);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 101);
  EXPECT_THAT(text, HasSubstr("/m149="));
  EXPECT_THAT(text, HasSubstr("/m50="));
  EXPECT_THAT(text, Not(HasSubstr("/m49=")));
}

}  // namespace
}  // namespace weightd

// Models that nobody knows, that are gone, and that are named with more than their name.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kModelBytes = 1 << 20;

// What one does with a model that is in memory.
const std::vector<std::vector<std::string>>& Commands() {
  static const auto* const commands = new std::vector<std::vector<std::string>>{
      {"pin"}, {"unpin"}, {"evict"}, {"verify"}, {"read"}};
  return *commands;
}

CommandResult RunOn(const Weightctl& ctl, std::vector<std::string> command,
                    const std::string& model) {
  command.push_back(model);
  if (command[0] == "read") command.push_back("layer.0.weight");
  return ctl.Run(command);
}

TEST_F(DaemonTest, AMistypedModelIsNotFoundAndOneOnTheVolumeIsNotResident) {
  MakeModel("model", kModelBytes);
  Start();
  for (const std::vector<std::string>& command : Commands()) {
    for (const char* name : {"modle", "modle@4711"}) {
      const CommandResult unknown = RunOn(ctl_, command, name);
      EXPECT_EQ(unknown.exit_code, kExitNotFound) << command[0] << unknown;
      EXPECT_THAT(unknown.err,
                  AllOf(HasSubstr(absl::StrCat("model modle: no such checkpoint below the roots ",
                                               root_, "; did you mean model?")),
                        Not(HasSubstr("stage"))))
          << command[0];
    }
    const CommandResult cold = RunOn(ctl_, command, "model");
    EXPECT_EQ(cold.exit_code, kExitNotReady) << command[0] << cold;
    EXPECT_THAT(cold.err, HasSubstr("model is not resident")) << command[0];
  }
  // What came after the last look through the root is on the volume all the same.
  std::filesystem::copy(InRoot("model.safetensors"), InRoot("later.safetensors"));
  EXPECT_EQ(ctl_.Run({"pin", "later"}).exit_code, kExitNotReady);
}

// The root that cannot be looked through may have it.
TEST_F(DaemonTest, AModelThatARootMayHaveIsNotSaidToBeUnknown) {
  MakeModel("model", kModelBytes);
  Start({"--root", dir_.File("absent")});
  EXPECT_EQ(ctl_.Run({"pin", "modle"}).exit_code, kExitNotReady);
}

TEST_F(DaemonTest, AGenerationIsDescribedByItsId) {
  MakeModel("model", kModelBytes, 1);
  Start();
  Stage("model");
  const uint64_t first = GenerationOf("model");
  const std::unique_ptr<AttachProbe> holder = Attach("model");
  MakeModel("model", kModelBytes, 2);
  Stage("model");
  const auto both = ctl_.Json({"describe", "model"})["model"]["generations"];
  ASSERT_EQ(both.size(), 2u);
  const uint64_t second = std::max(both[0]["id"].get<uint64_t>(), both[1]["id"].get<uint64_t>());
  for (const uint64_t id : std::vector<uint64_t>{first, second}) {
    const std::string name = absl::StrCat("model@", id);
    const auto described = ctl_.Json({"describe", name})["model"];
    EXPECT_EQ(described["name"], "model");
    ASSERT_EQ(described["generations"].size(), 1u) << name;
    EXPECT_EQ(described["generations"][0]["id"], id);
  }
  const auto digest = [&](uint64_t id) {
    return ctl_.Json({"tensors", absl::StrCat("model@", id)})["tensors"][0]["xxh3_128"];
  };
  EXPECT_NE(digest(first), digest(second)) << "each has its own bytes";
  EXPECT_EQ(digest(second), ctl_.Json({"tensors", "model"})["tensors"][0]["xxh3_128"]);
  const CommandResult gone = ctl_.Run({"describe", "model@4711"});
  EXPECT_EQ(gone.exit_code, kExitNotReady);
  EXPECT_THAT(gone.err, HasSubstr("model@4711 is not resident"));
  EXPECT_EQ(ctl_.Run({"tensors", "model@"}).exit_code, kExitUsage);
  EXPECT_EQ(ctl_.Run({"tensors", "modle@1"}).exit_code, kExitNotFound);
  const CommandResult revision = ctl_.Run({"describe", "model@main"});
  EXPECT_EQ(revision.exit_code, kExitNotReady);
  EXPECT_THAT(revision.err, HasSubstr("model@main is not resident"));
}

TEST_F(DaemonTest, AResidentModelThatIsGoneFromTheVolumeIsShownSo) {
  MakeModel("stays", kModelBytes);
  MakeModel("goes", kModelBytes);
  Start();
  Stage("stays");
  Stage("goes");
  const auto removed = [&] {
    std::vector<bool> all;
    const nlohmann::json listed = ctl_.Json({"ls"});
    for (const nlohmann::json& model : listed["models"]) all.push_back(model["removed"]);
    return all;
  };
  EXPECT_THAT(removed(), ElementsAre(false, false));
  std::filesystem::remove(InRoot("goes.safetensors"));
  EXPECT_THAT(removed(), ElementsAre(true, false));
  EXPECT_THAT(ctl_.Run({"ls"}).out, HasSubstr("gone from the volume"));
  EXPECT_THAT(ctl_.Run({"describe", "goes"}).out, HasSubstr("problem   gone from the volume"));
  EXPECT_EQ(ctl_.Json({"describe", "goes"})["model"]["removed"], true);
  EXPECT_EQ(ctl_.Run({"pin", "goes"}).exit_code, kExitOk) << "it is in memory all the same";
  // Nobody knows what a root has that is not there.
  std::filesystem::rename(root_, root_ + ".away");
  EXPECT_THAT(removed(), ElementsAre(false, false));
}

TEST_F(DaemonTest, StatusTellsAbsolutePaths) {
  MakeModel("model", kModelBytes);
  const std::filesystem::path here = std::filesystem::current_path();
  const std::string parent = std::filesystem::relative(dir_.path(), here).string();
  DaemonSetup setup;
  setup.root = "./" + parent + "/root";
  setup.socket_dir = socket_dir_;
  setup.state_file = parent + "/state.json";
  daemon_ = std::make_unique<DaemonProcess>(setup);
  ASSERT_TRUE(daemon_->WaitUntilServing());
  const auto status = ctl_.Json({"status"});
  const std::string root = status["roots"][0];
  EXPECT_EQ(root, (here / parent / "root").string());
  EXPECT_TRUE(std::filesystem::equivalent(root, root_));
  EXPECT_EQ(status["volumes"][0]["root"], root);
  EXPECT_EQ(status["root_watches"][0]["root"], root);
  EXPECT_EQ(status["state_file"], (here / parent / "state.json").string());
  EXPECT_EQ(ctl_.Json({"ls"})["roots"][0]["root"], root);
  EXPECT_EQ(ctl_.Json({"ls"})["models"][0]["root"], root);
}

}  // namespace
}  // namespace weightd::testing

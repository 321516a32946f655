#include "tests/integration/daemon/daemon_fixture.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/http_get.h"
#include "tests/support/process/programs.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {

DaemonTest::DaemonTest() { std::filesystem::create_directory(root_); }

DaemonTest::~DaemonTest() {
  if (HasFailure() && daemon_ != nullptr) std::cerr << "the daemon's log:\n" << daemon_->log();
}

DaemonProcess* DaemonTest::Start(std::vector<std::string> flags,
                                 const std::vector<std::string>& environment) {
  DaemonSetup setup;
  setup.root = root_;
  setup.socket_dir = socket_dir_;
  setup.flags = std::move(flags);
  setup.state_file = state_file_;
  setup.environment = environment_;
  setup.environment.insert(setup.environment.end(), environment.begin(), environment.end());
  daemon_.reset();
  daemon_ = std::make_unique<DaemonProcess>(setup);
  if (daemon_->WaitUntilServing()) return daemon_.get();
  ADD_FAILURE() << "the daemon does not serve";
  return nullptr;
}

void DaemonTest::StartForNobody(std::vector<std::string> flags) {
  flags.insert(flags.end(), {"--access.attach-uid", absl::StrCat(kNobody)});
  ASSERT_NE(Start(std::move(flags)), nullptr);
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
  for (const char* name : {"", "/weightd.sock", "/handles.sock"}) {
    ASSERT_EQ(::chown((socket_dir_ + name).c_str(), 0, kNogroup), 0) << name;
  }
}

void DaemonTest::StopCleanly() { EXPECT_EQ(daemon_->Stop(), std::optional(0)); }

std::string DaemonTest::MakeModel(const std::string& name, uint64_t bytes, uint64_t seed) const {
  std::string path = InRoot(name + ".safetensors");
  EXPECT_OK(WriteSafetensors(path, SmallTensorSpecs(8, bytes), {.seed = seed}));
  return path;
}

void DaemonTest::Stage(const std::string& model) const {
  const CommandResult result = ctl_.Run({"stage", model, "--wait"});
  EXPECT_EQ(result.exit_code, kExitOk) << result;
}

ProbeOptions DaemonTest::Probe(const std::string& model, const std::vector<std::string>& files,
                               const std::string& device) const {
  ProbeOptions options;
  options.socket_dir = socket_dir_;
  options.model = model;
  options.files = files;
  options.device = device;
  options.environment = environment_;
  return options;
}

std::unique_ptr<AttachProbe> DaemonTest::Attach(const std::string& model,
                                                const std::vector<std::string>& files,
                                                const std::string& device) const {
  auto probe = std::make_unique<AttachProbe>(Probe(model, files, device));
  EXPECT_TRUE(probe->is_attached()) << probe->output();
  return probe;
}

void DaemonTest::ExpectSameAsFiles(const std::string& model, const std::vector<std::string>& files,
                                   const std::string& device) const {
  const std::unique_ptr<AttachProbe> probe = Attach(model, files, device);
  const std::string compared = probe->Compare();
  EXPECT_TRUE(absl::StartsWith(compared, "same ")) << compared;
  EXPECT_EQ(probe->Leave(), std::optional(0)) << probe->output();
}

nlohmann::json DaemonTest::DeviceStatus(const std::string& id) const {
  const nlohmann::json status = ctl_.Json({"status"});
  for (const nlohmann::json& device : status.value("devices", nlohmann::json::array())) {
    if (device["id"] == id) return device;
  }
  ADD_FAILURE() << "no device " << id << " in " << status;
  return nlohmann::json::object();
}

uint64_t DaemonTest::UsedBytes(const std::string& id) const {
  return DeviceStatus(id).value("used_bytes", UINT64_MAX);
}

std::vector<std::string> DaemonTest::Resident() const {
  std::vector<std::string> names;
  const nlohmann::json listed = ctl_.Json({"ps"});
  for (const nlohmann::json& model : listed["models"]) {
    for (const nlohmann::json& generation : model["generations"]) {
      if (generation["state"] == "RESIDENT") names.push_back(model["name"]);
    }
  }
  return names;
}

std::vector<nlohmann::json> DaemonTest::Generations(const std::string& model) const {
  const nlohmann::json described = ctl_.Json({"describe", model});
  return described["model"]["generations"];
}

uint64_t DaemonTest::GenerationOf(const std::string& model) const {
  const nlohmann::json described = ctl_.Json({"describe", model});
  uint64_t newest = 0;
  for (const nlohmann::json& generation : described["model"]["generations"]) {
    newest = std::max<uint64_t>(newest, generation["id"]);
  }
  return newest;
}

size_t DaemonTest::LeaseCount() const { return ctl_.Json({"leases"})["leases"].size(); }

int DaemonTest::MetricsPort() const {
  const std::vector<std::string> log = absl::StrSplit(daemon_->log(), "metrics_port=");
  int port = 0;
  if (log.size() < 2 || !absl::SimpleAtoi(log[1].substr(0, log[1].find_first_of(" \n")), &port)) {
    return 0;
  }
  return port;
}

std::string DaemonTest::Metrics() const {
  const int port = MetricsPort();
  if (port == 0) return "";
  const absl::StatusOr<std::string> text = HttpGet(port, "/metrics");
  EXPECT_OK(text);
  return text.value_or("");
}

double DaemonTest::MetricOf(const std::string& series) const {
  for (const absl::string_view line : absl::StrSplit(Metrics(), '\n')) {
    double value = 0;
    if (absl::StartsWith(line, series + " ") &&
        absl::SimpleAtod(line.substr(series.size() + 1), &value)) {
      return value;
    }
  }
  return -1;
}

std::vector<nlohmann::json> DaemonTest::EventsUntil(const std::string& last_type) const {
  const std::unique_ptr<ChildProcess> watcher =
      ctl_.Start({"events", "--replay", "1024", "-o", "json"});
  std::vector<nlohmann::json> events;
  while (const std::optional<std::string> line = watcher->NextLine()) {
    events.push_back(nlohmann::json::parse(*line, nullptr, /*allow_exceptions=*/false));
    if (events.back().value("type", "") == last_type) return events;
  }
  ADD_FAILURE() << "no event " << last_type << " in " << watcher->out() << watcher->err();
  return events;
}

std::vector<std::string> HeldRead::environment() const {
  return FaultPreload({absl::StrCat("WEIGHTD_FAULT_PATH=", file_),
                       absl::StrCat("WEIGHTD_FAULT_OFFSET=", offset_),
                       absl::StrCat("WEIGHTD_FAULT_WAIT_FILE=", wait_file_)});
}

bool HeldRead::WaitUntilReached() const {
  return WaitUntil([&] { return std::filesystem::exists(wait_file_ + ".reached"); });
}

void HeldRead::Release() const { EXPECT_OK(WriteRawFile(wait_file_, "")); }

std::vector<std::string> FileNames(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace weightd::testing

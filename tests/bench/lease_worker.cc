#include "tests/bench/lease_worker.h"

#include <sys/resource.h>
#include <weightd/client.h>

#include <chrono>
#include <iostream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace weightd::bench {
namespace {

using Json = nlohmann::json;

// A loaded machine is measured, not refused.
constexpr std::chrono::milliseconds kAttachTimeout{60'000};
// A thousand attaches of a machine that does much else.
constexpr absl::Duration kAnswerTimeout = absl::Minutes(5);

// Every mapping has a connection of its own, which is a descriptor.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  // Without it attaches fail and say so.
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

absl::StatusOr<client::Mapping> AttachOnce(const WorkerSetup& setup) {
  client::Result<client::Mapping> mapping = client::Attach(
      setup.model,
      {.socket_dir = setup.socket_dir, .client_name = "lease_bench", .timeout = kAttachTimeout});
  if (!mapping.ok()) return absl::UnknownError(mapping.status().ToString());
  if (mapping->tensors().size() != setup.tensors) {
    return absl::InternalError(absl::StrCat("attach ", setup.model, ": got ",
                                            mapping->tensors().size(), " tensors, wanted ",
                                            setup.tensors));
  }
  return *std::move(mapping);
}

absl::Status Hold(const WorkerSetup& setup, uint64_t count, std::vector<client::Mapping>& held) {
  while (held.size() > count) held.pop_back();
  while (held.size() < count) {
    ASSIGN_OR_RETURN(client::Mapping mapping, AttachOnce(setup));
    held.push_back(std::move(mapping));
  }
  for (const client::Mapping& mapping : held) {
    if (!mapping.lease_held()) return absl::UnavailableError("a lease was lost while it was held");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> Time(const WorkerSetup& setup, uint64_t count) {
  std::vector<double> times_ms;
  for (uint64_t i = 0; i < count; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    ASSIGN_OR_RETURN(const client::Mapping mapping, AttachOnce(setup));
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin;
    times_ms.push_back(time.count());
  }
  return times_ms;
}

absl::StatusOr<Json> Do(const WorkerSetup& setup, const std::string& command,
                        std::vector<client::Mapping>& held) {
  std::istringstream words(command);
  std::string verb;
  uint64_t count = 0;
  words >> verb >> count;
  if (verb == "hold") {
    RETURN_IF_ERROR(Hold(setup, count, held));
    return Json::object();
  }
  ASSIGN_OR_RETURN(const std::vector<double> times_ms, Time(setup, count));
  return verb == "time" ? Json{{"times_ms", times_ms}} : Json::object();
}

}  // namespace

int RunLeaseWorker(const WorkerSetup& setup) {
  RaiseDescriptorLimit();
  std::vector<client::Mapping> held;
  for (std::string command; std::getline(std::cin, command);) {
    const absl::StatusOr<Json> answer = Do(setup, command, held);
    const Json line = answer.ok() ? *answer : Json{{"error", answer.status().ToString()}};
    std::cout << line.dump() << std::endl;
  }
  return 0;
}

LeaseWorker::LeaseWorker(const WorkerSetup& setup)
    : child_({.argv = {setup.program, "--worker", setup.model, "--socket-dir", setup.socket_dir,
                       "--tensors", absl::StrCat(setup.tensors)}}) {}

void LeaseWorker::StartHold(uint64_t count) { child_.WriteLine(absl::StrCat("hold ", count)); }

void LeaseWorker::StartBurst(uint64_t count) { child_.WriteLine(absl::StrCat("burst ", count)); }

absl::Status LeaseWorker::Finish() { return Answer().status(); }

absl::StatusOr<std::vector<double>> LeaseWorker::TimeAttaches(uint64_t count) {
  child_.WriteLine(absl::StrCat("time ", count));
  ASSIGN_OR_RETURN(const Json answer, Answer());
  return answer.at("times_ms").get<std::vector<double>>();
}

absl::StatusOr<Json> LeaseWorker::Answer() {
  const std::optional<std::string> line = child_.NextLine(kAnswerTimeout);
  if (!line.has_value()) {
    return absl::UnavailableError(absl::StrCat("a worker gave no answer: ", child_.err()));
  }
  Json answer = Json::parse(*line, nullptr, /*allow_exceptions=*/false);
  if (answer.is_discarded()) return absl::InternalError(absl::StrCat("a worker said ", *line));
  if (answer.contains("error")) return absl::UnknownError(answer["error"].get<std::string>());
  return answer;
}

}  // namespace weightd::bench

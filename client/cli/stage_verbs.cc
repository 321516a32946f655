#include <google/protobuf/util/time_util.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/daemon.h"
#include "client/cli/json.h"
#include "client/cli/progress.h"
#include "client/cli/text.h"
#include "client/cli/verbs.h"
#include "common/errors.h"
#include "common/format_units.h"
#include "common/status_macros.h"

namespace weightd::cli {
namespace {

using google::protobuf::util::TimeUtil;

// What the daemon gives where --grace does not say.
constexpr absl::Duration kDefaultGrace = absl::Seconds(10);

struct ModelArguments {
  std::string model;
  std::string device;
};

struct StageArguments {
  std::string model;
  std::vector<std::string> devices;
  bool host_copy = false;
  bool wait = false;
  bool pin = false;
  bool restage = false;
  uint64_t bytes_per_second_max = 0;
  v1::VerifyMode verify = v1::VERIFY_MODE_UNSPECIFIED;
};

struct VerifyArguments : ModelArguments {
  uint64_t bytes_per_second_max = 0;
};

struct EvictArguments : ModelArguments {
  bool force = false;
  std::string grace;
};

void PrintStaged(const std::string& model, const v1::StageModelResponse& last,
                 const v1::Generation& generation, std::ostream& out) {
  out << Printable(model) << (last.already_resident() ? " is resident on " : " resident on ")
      << Printable(generation.device()) << ": " << FormatBytes(generation.tensor_bytes()) << ", "
      << Counted(generation.tensor_count(), "tensor") << ", generation " << generation.id();
  const std::string rate = FormatRate(last.bytes_per_second());
  if (!last.already_resident() && !rate.empty()) out << ", " << rate;
  out << '\n';
}

void PrintStageResult(const Invocation& invocation, const std::string& model,
                      const v1::StageModelResponse& last) {
  std::ostream& out = invocation.io.out;
  if (invocation.json()) {
    out << JsonDocument(ToJson(last));
  } else if (last.phase() == v1::STAGED) {
    for (const v1::Generation& generation : last.generations()) {
      PrintStaged(model, last, generation, out);
    }
  } else {
    out << Printable(model) << ": job " << last.job_id()
        << (last.joined() ? " runs already" : " accepted") << ", " << PhaseName(last.phase());
    if (last.jobs_ahead() > 0) out << ", " << Counted(last.jobs_ahead(), "job") << " before it";
    out << '\n';
  }
}

void WarnNotKept(const Invocation& invocation, const std::string& why) {
  invocation.io.err << "weightctl: warning: " << Printable(invocation.what)
                    << ": done, and not kept over a restart of weightd: " << Printable(why) << '\n';
}

// A stage does not wait for the state file: how writing it went last is what is known.
void WarnIfPinsAreNotKept(const Invocation& invocation, const Daemon& daemon) {
  const absl::StatusOr<v1::GetStatusResponse> status =
      daemon.Call(&v1::WeightCache::Stub::GetStatus, v1::GetStatusRequest(),
                  invocation.options.timeout);  // the stage may have taken long
  if (!status.ok() || status->state().error().empty()) return;
  WarnNotKept(invocation, status->state().error());
}

// With --wait the stream is followed to its end, and leaving it cancels the job. Without, the job
// is detached and its first message is enough.
absl::Status RunStage(Invocation& invocation, const StageArguments& arguments) {
  invocation.what = absl::StrCat("stage ", arguments.model);
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  v1::StageModelRequest request;
  request.set_model(arguments.model);
  request.mutable_devices()->Assign(arguments.devices.begin(), arguments.devices.end());
  if (arguments.host_copy) request.set_host_copy(true);
  request.set_pin(arguments.pin);
  request.set_restage(arguments.restage);
  request.set_bytes_per_second_max(arguments.bytes_per_second_max);
  request.set_detached(!arguments.wait);
  request.set_verify(arguments.verify);
  v1::StageModelResponse last;
  bool answered = false;
  {
    ProgressPrinter progress(invocation.io.err, invocation.io.err_is_terminal, arguments.model);
    const auto take = [&](const v1::StageModelResponse& response) {
      last = response;
      answered = true;
      if (response.phase() == v1::STAGED || !arguments.wait) return Next::kStop;
      progress.Show(response);
      return Next::kContinue;
    };
    const absl::Duration timeout =
        arguments.wait ? invocation.options.stream_timeout() : invocation.options.timeout;
    RETURN_IF_ERROR((daemon.Stream<v1::StageModelRequest, v1::StageModelResponse>(
        &v1::WeightCache::Stub::StageModel, request, timeout, take)));
  }
  if (!answered || (arguments.wait && last.phase() != v1::STAGED)) {
    return absl::InternalError("weightd ended the stream before the model was resident");
  }
  PrintStageResult(invocation, arguments.model, last);
  if (arguments.pin) WarnIfPinsAreNotKept(invocation, daemon);
  return absl::OkStatus();
}

// With --force the daemon answers when the grace period is over.
absl::Status RunEvict(Invocation& invocation, const EvictArguments& arguments) {
  invocation.what = absl::StrCat("evict ", arguments.model);
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  v1::EvictModelRequest request;
  request.set_model(arguments.model);
  request.set_device(arguments.device);
  request.set_force(arguments.force);
  absl::Duration timeout = invocation.options.timeout;
  if (!arguments.grace.empty()) {
    absl::Duration grace = absl::ZeroDuration();
    if (arguments.grace != "0" && arguments.grace != "0s") {
      ASSIGN_OR_RETURN(grace, ParseTimeout(arguments.grace));
    }
    *request.mutable_grace() = TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(grace));
    timeout += grace;
  } else if (arguments.force) {
    timeout += kDefaultGrace;
  }
  ASSIGN_OR_RETURN(const v1::EvictModelResponse response,
                   daemon.Call(&v1::WeightCache::Stub::EvictModel, request, timeout));
  if (invocation.json()) {
    invocation.io.out << JsonDocument(ToJson(response));
  } else {
    invocation.io.out << Printable(arguments.model) << ": "
                      << (response.generations() == 1
                              ? std::string("1 copy")
                              : absl::StrCat(response.generations(), " copies"))
                      << " evicted, " << FormatBytes(response.bytes_freed()) << " freed";
    if (response.bytes_demoted() > 0) {
      invocation.io.out << ", " << FormatBytes(response.bytes_demoted())
                        << " kept in the host tier";
    }
    if (response.leases_revoked() > 0) {
      invocation.io.out << ", " << Counted(response.leases_revoked(), "lease") << " revoked";
    }
    invocation.io.out << '\n';
  }
  return absl::OkStatus();
}

// PinModel and UnpinModel differ in their names only.
template <typename Request, typename Response>
absl::Status RunPinning(Invocation& invocation, const ModelArguments& arguments,
                        grpc::Status (v1::WeightCache::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                        const char* verb) {
  invocation.what = absl::StrCat(verb, " ", arguments.model);
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  Request request;
  request.set_model(arguments.model);
  request.set_device(arguments.device);
  ASSIGN_OR_RETURN(const Response response, daemon.Call(method, request));
  if (!response.not_kept().empty()) WarnNotKept(invocation, response.not_kept());
  if (invocation.json()) {
    invocation.io.out << JsonDocument(ToJson(response));
    return absl::OkStatus();
  }
  for (const v1::Generation& generation : response.generations()) {
    invocation.io.out << Printable(arguments.model) << ": generation " << generation.id() << " on "
                      << Printable(generation.device())
                      << (generation.pinned() ? " is pinned\n" : " is not pinned\n");
  }
  return absl::OkStatus();
}

void AddModelArguments(CLI::App* verb, ModelArguments& arguments, const char* default_device) {
  verb->add_option("MODEL", arguments.model, kModelHelp)->required();
  verb->add_option("--device", arguments.device,
                   absl::StrCat("`host` or a GPU's UUID; default: ", default_device))
      ->type_name("DEVICE");
}

void AddBandwidth(CLI::App* verb, uint64_t& bytes_per_second_max, const char* description) {
  verb->add_option("--bandwidth", bytes_per_second_max, description)
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->type_name("BYTES");
}

std::string VerifiedText(const v1::VerifiedCopy& copy) {
  if (copy.tensors() == 0) return "no digests to compare with";
  if (copy.damaged_tensors().empty()) {
    return absl::StrCat("good: ", Counted(copy.tensors(), "tensor"), ", ",
                        FormatBytes(copy.bytes()));
  }
  return absl::StrCat("damaged: ", copy.damaged_tensors_size(), " of ",
                      Counted(copy.tensors(), "tensor"), " differ, the first is ",
                      Printable(copy.damaged_tensors(0)));
}

absl::Status RunVerify(Invocation& invocation, const VerifyArguments& arguments) {
  invocation.what = absl::StrCat("verify ", arguments.model);
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  v1::VerifyModelRequest request;
  request.set_model(arguments.model);
  request.set_device(arguments.device);
  request.set_bytes_per_second_max(arguments.bytes_per_second_max);
  ASSIGN_OR_RETURN(const v1::VerifyModelResponse response,
                   daemon.Call(&v1::WeightCache::Stub::VerifyModel, request,
                               invocation.options.stream_timeout()));
  int damaged = 0;
  for (const v1::VerifiedCopy& copy : response.copies()) {
    if (!copy.damaged_tensors().empty()) ++damaged;
    if (invocation.json()) continue;
    invocation.io.out << Printable(arguments.model) << " on " << Printable(copy.device())
                      << ", generation " << copy.generation_id() << ": " << VerifiedText(copy)
                      << '\n';
  }
  if (invocation.json()) invocation.io.out << JsonDocument(ToJson(response));
  if (damaged == 0) return absl::OkStatus();
  return ErrorWithReason(
      absl::StatusCode::kDataLoss, Reason::kIntegrityFailed,
      absl::StrCat(damaged, " of ", response.copies_size(),
                   " copies do not hold what was staged; nobody gets them any more. `weightctl "
                   "stage --restage` makes another one"));
}

}  // namespace

void AddStageVerbs(CLI::App& app, Invocation& invocation) {
  const auto stage = std::make_shared<StageArguments>();
  CLI::App* verb = AddVerb(app, invocation, "stage",
                           [&invocation, stage] { return RunStage(invocation, *stage); });
  verb->add_option("MODEL", stage->model, kModelHelp)->required();
  verb->add_option(
          "--device", stage->devices,
          "`host` or a GPU's UUID, or several: the volume is read once for all; default: the "
          "daemon's default device")
      ->type_name("DEVICE")
      ->allow_extra_args(false);
  verb->add_flag("--host-copy", stage->host_copy,
                 "keep a copy in the host tier too, if it fits, for the GPUs to get it back");
  verb->add_flag("--wait", stage->wait,
                 "show progress until it is resident; leaving cancels the job");
  verb->add_flag("--pin", stage->pin, "pin it as soon as it is resident");
  verb->add_flag("--restage", stage->restage, "stage again although it is resident and unchanged");
  AddBandwidth(verb, stage->bytes_per_second_max,
               "read at most so many bytes per second of the volume: 500MB, 1GiB");
  verb->add_option(
          "--verify", stage->verify,
          "what is looked at as bytes pass: none, fast (digests, CRC32s of .tensors files) "
          "or full (their SHA-256s too, and those of whole files from SHA256SUMS or a hub cache's "
          "blob names); default: the daemon's setting")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, v1::VerifyMode>{
              {"none", v1::NONE}, {"fast", v1::FAST}, {"full", v1::FULL}},
          CLI::ignore_case))
      ->type_name("MODE");

  const auto evict = std::make_shared<EvictArguments>();
  verb = AddVerb(app, invocation, "evict",
                 [&invocation, evict] { return RunEvict(invocation, *evict); });
  AddModelArguments(verb, *evict, "every device where it is, and nothing is kept");
  verb->add_flag("--force", evict->force,
                 "also when it is pinned or leased: who holds it is told, and loses it");
  verb->add_option("--grace", evict->grace,
                   "what they get to leave by themselves: 10s (default), 0s")
      ->type_name("TIME");

  const auto verify = std::make_shared<VerifyArguments>();
  verb = AddVerb(app, invocation, "verify",
                 [&invocation, verify] { return RunVerify(invocation, *verify); });
  AddModelArguments(verb, *verify, "every device where it is");
  AddBandwidth(verb, verify->bytes_per_second_max,
               "read at most so many bytes per second: 500MB, 1GiB");

  const auto model = std::make_shared<ModelArguments>();
  verb = AddVerb(app, invocation, "pin", [&invocation, model] {
    return RunPinning(invocation, *model, &v1::WeightCache::Stub::PinModel, "pin");
  });
  AddModelArguments(verb, *model, "every device where it is");
  verb = AddVerb(app, invocation, "unpin", [&invocation, model] {
    return RunPinning(invocation, *model, &v1::WeightCache::Stub::UnpinModel, "unpin");
  });
  AddModelArguments(verb, *model, "every device where it is");
}

}  // namespace weightd::cli

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/daemon.h"
#include "client/cli/json.h"
#include "client/cli/stage_report.h"
#include "client/cli/table.h"
#include "client/cli/text.h"
#include "client/cli/verbs.h"
#include "client/cli/watch.h"
#include "common/format_units.h"
#include "common/status_macros.h"

namespace weightd::cli {
namespace {

constexpr uint32_t kPageTensors = 5000;
constexpr size_t kShortRevision = 12;
constexpr const char* kClearScreen = "\x1b[H\x1b[2J";

std::string StateName(v1::ResidencyState state) {
  return absl::AsciiStrToLower(v1::ResidencyState_Name(state));
}

// "resident", "resident, superseded", "staging 48 %".
std::string StateText(const v1::Generation& generation) {
  std::string text = StateName(generation.state());
  if (generation.bytes_total() > 0) {
    absl::StrAppend(&text, " ", generation.bytes_done() * 100 / generation.bytes_total(), " %");
  }
  if (generation.superseded()) absl::StrAppend(&text, ", superseded");
  if (generation.damaged()) absl::StrAppend(&text, ", damaged");
  if (generation.stuck()) absl::StrAppend(&text, ", stuck: its volume hangs");
  if (generation.host_copy()) absl::StrAppend(&text, ", for the GPUs");
  return text;
}

absl::StatusOr<v1::ListModelsResponse> ListModels(const Invocation& invocation, bool resident) {
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  v1::ListModelsRequest request;
  request.set_resident_only(resident);
  return daemon.CallPaged(&v1::WeightCache::Stub::ListModels, request);
}

// "host" or "GPU-1f3a (staging)" for each copy.
std::string InMemory(const v1::Model& model) {
  std::vector<std::string> copies;
  for (const v1::Generation& generation : model.generations()) {
    const bool resident = generation.state() == v1::RESIDENT;
    copies.push_back(
        resident ? generation.device()
                 : absl::StrCat(generation.device(), " (", StateName(generation.state()), ")"));
  }
  return absl::StrJoin(copies, ", ");
}

std::string ProblemText(const v1::Model& model) {
  if (model.removed()) return "gone from the volume";
  return model.changed() ? "changed since it was staged" : model.problem();
}

absl::Status RunLs(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const v1::ListModelsResponse response, ListModels(invocation, false));
  const Io& io = invocation.io;
  if (invocation.json()) {
    io.out << JsonText(invocation, ToJson(response));
    return absl::OkStatus();
  }
  Table table(
      {{"MODEL"}, {"SIZE", true}, {"FILES", true}, {"REVISION"}, {"IN MEMORY"}, {"PROBLEM"}});
  for (const v1::Model& model : response.models()) {
    table.AddRow({model.name(), FormatBytes(model.file_bytes()), absl::StrCat(model.shard_count()),
                  model.revision().substr(0, kShortRevision), InMemory(model), ProblemText(model)});
  }
  table.Print(io.out, io.color);
  for (const v1::ScannedRoot& root : response.roots()) {
    if (root.problem().empty()) continue;
    const std::string age =
        root.has_scan_time() ? absl::StrCat("as of ", FormatTime(root.scan_time())) : "not known";
    io.err << "weightctl: root " << Printable(root.root()) << ": " << Printable(root.problem())
           << "; its models are " << age << '\n';
  }
  return absl::OkStatus();
}

Table GenerationTable() {
  return Table({{"MODEL"},
                {"GENERATION", true},
                {"DEVICE"},
                {"STATE"},
                {"SIZE", true},
                {"TENSORS", true},
                {"LEASES", true},
                {"PINNED"},
                {"RESIDENT SINCE"}});
}

void AddGenerations(const v1::Model& model, Table& table) {
  for (const v1::Generation& generation : model.generations()) {
    table.AddRow({model.name(), absl::StrCat(generation.id()), generation.device(),
                  StateText(generation), FormatBytes(generation.allocated_bytes()),
                  absl::StrCat(generation.tensor_count()), absl::StrCat(generation.lease_count()),
                  generation.pinned() ? "yes" : "no", FormatTime(generation.resident_time())});
  }
}

// Models or a message that has some.
template <typename Response>
void PrintResident(const Response& response, const Io& io) {
  Table table = GenerationTable();
  for (const v1::Model& model : response.models()) AddGenerations(model, table);
  table.Print(io.out, io.color);
}

// Each list on a cleared screen; elsewhere than on a terminal one below the other.
absl::Status WatchPs(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  const Io& io = invocation.io;
  v1::WatchModelsResponse list;  // of one message or several
  PageWalk walk;
  absl::Status believed;
  const auto take = [&](const v1::WatchModelsResponse& response) {
    believed = walk.Add(static_cast<uint64_t>(response.models_size()), response.SpaceUsedLong());
    if (!believed.ok()) return Next::kStop;
    list.MergeFrom(response);
    list.clear_more();
    if (response.more()) return Next::kContinue;
    if (invocation.json()) {
      io.out << JsonLine(ToJson(list));
    } else {
      if (io.out_is_terminal) io.out << kClearScreen;
      PrintResident(list, io);
      if (!io.out_is_terminal) io.out << '\n';
    }
    list.Clear();
    walk = PageWalk();
    io.out << std::flush;
    return io.out.good() ? Next::kContinue : Next::kStop;
  };
  RETURN_IF_ERROR((daemon.Stream<v1::WatchModelsRequest, v1::WatchModelsResponse>(
      &v1::WeightCache::Stub::WatchModels, v1::WatchModelsRequest(),
      invocation.options.stream_timeout(), take)));
  return believed;
}

absl::Status RunPs(const Invocation& invocation, bool watch) {
  if (watch) return WatchPs(invocation);
  ASSIGN_OR_RETURN(const v1::ListModelsResponse response, ListModels(invocation, true));
  if (invocation.json()) {
    invocation.io.out << JsonDocument(ToJson(response));
  } else {
    PrintResident(response, invocation.io);
  }
  return absl::OkStatus();
}

void PrintReport(const v1::StageReport& report, const Io& io) {
  io.out << "staged    by job " << report.job_id();
  if (!report.engine().empty()) io.out << " with " << Printable(report.engine());
  if (const std::string modes = ModesText(report); !modes.empty()) io.out << ", " << modes;
  const std::string rate = FormatRate(report.bytes_per_second());
  if (!rate.empty()) io.out << ", " << rate;
  if (const std::string verify = VerifyText(report); !verify.empty()) {
    io.out << "\nverified  " << verify;
  }
  io.out << "\nphases    " << PhasesText(report) << '\n';
  for (const std::string& fallback : report.fallbacks()) {
    io.out << "fallback  " << Printable(fallback) << '\n';
  }
}

void PrintModel(const v1::GetModelResponse& response, const Io& io) {
  const v1::Model& model = response.model();
  const auto line = [&io](const char* name, const std::string& text) {
    if (!text.empty()) io.out << name << "  " << Printable(text) << '\n';
  };
  line("model   ", model.name());
  line("root    ", model.root());
  line("revision", model.revision());
  line("files   ", absl::StrCat(model.shard_count(), ", ", FormatBytes(model.file_bytes())));
  line("tensors ",
       absl::StrCat(response.tensor_count(), ", ", FormatBytes(response.tensor_bytes())));
  line("problem ", ProblemText(model));
  for (const auto& [key, value] : response.metadata()) {
    line("metadata", absl::StrCat(key, " = ", value));
  }
  if (response.metadata_left_out() > 0) {
    line("metadata", absl::StrCat(response.metadata_left_out(), " more, too large to be shown"));
  }
  if (model.generations().empty()) {
    io.out << "memory    not resident\n";
    return;
  }
  for (const v1::Generation& generation : model.generations()) {
    if (generation.has_report()) PrintReport(generation.report(), io);
  }
  io.out << '\n';
  Table table = GenerationTable();
  AddGenerations(model, table);
  table.Print(io.out, io.color);
}

absl::Status RunDescribe(Invocation& invocation, const std::string& model) {
  invocation.what = absl::StrCat("describe ", model);
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  v1::GetModelRequest request;
  request.set_model(model);
  ASSIGN_OR_RETURN(const v1::GetModelResponse response,
                   daemon.Call(&v1::WeightCache::Stub::GetModel, request));
  if (invocation.json()) {
    invocation.io.out << JsonDocument(ToJson(response));
  } else {
    PrintModel(response, invocation.io);
  }
  return absl::OkStatus();
}

// All pages as one answer: the first, and the tensors of the others.
absl::StatusOr<v1::GetModelResponse> FetchTensors(const Daemon& daemon, const std::string& model) {
  v1::GetModelRequest request;
  request.set_model(model);
  request.set_page_size(kPageTensors);
  v1::GetModelResponse all;
  bool is_first = true;
  RETURN_IF_ERROR((daemon.CallPages<v1::GetModelRequest, v1::GetModelResponse>(
      &v1::WeightCache::Stub::GetModel, request, [&](const v1::GetModelResponse& page) {
        if (std::exchange(is_first, false)) {
          all = page;
        } else {
          all.mutable_tensors()->MergeFrom(page.tensors());
        }
      })));
  all.clear_next_page_token();
  return all;
}

absl::Status RunTensors(Invocation& invocation, const std::string& model) {
  invocation.what = absl::StrCat("tensors ", model);
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  ASSIGN_OR_RETURN(const v1::GetModelResponse response, FetchTensors(daemon, model));
  const Io& io = invocation.io;
  if (invocation.json()) {
    io.out << JsonDocument(ToJson(response));
    return absl::OkStatus();
  }
  Table table({{"TENSOR"}, {"DTYPE"}, {"SHAPE"}, {"BYTES", true}, {"XXH3-128"}});
  for (const v1::Tensor& tensor : response.tensors()) {
    table.AddRow(
        {tensor.name(),
         tensor.torch_dtype().empty() ? v1::DType_Name(tensor.dtype()) : tensor.torch_dtype(),
         absl::StrCat("[", absl::StrJoin(tensor.shape(), ", "), "]"), absl::StrCat(tensor.bytes()),
         tensor.xxh3_128().empty() ? "-" : tensor.xxh3_128()});
  }
  table.Print(io.out, io.color);
  return absl::OkStatus();
}

}  // namespace

void AddModelVerbs(CLI::App& app, Invocation& invocation) {
  const auto watch_list = std::make_shared<WatchArguments>();
  AddWatch(
      AddVerb(app, invocation, "ls",
              [&invocation, watch_list] { return ShowOrWatch(invocation, *watch_list, RunLs); }),
      *watch_list);
  const auto watch = std::make_shared<bool>(false);
  AddVerb(app, invocation, "ps", [&invocation, watch] {
    return RunPs(invocation, *watch);
  })->add_flag("--watch", *watch, "again after each change, as the daemon tells it");
  const auto model = std::make_shared<std::string>();
  AddVerb(app, invocation, "describe",
          [&invocation, model] { return RunDescribe(invocation, *model); })
      ->add_option("MODEL", *model, kModelHelp)
      ->required();
  AddVerb(app, invocation, "tensors",
          [&invocation, model] { return RunTensors(invocation, *model); })
      ->add_option("MODEL", *model, kModelHelp)
      ->required();
}

}  // namespace weightd::cli

#include "client/cli/top_view.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/progress.h"
#include "client/cli/table.h"
#include "client/cli/text.h"
#include "common/format_units.h"

namespace weightd::cli {
namespace {

constexpr size_t kBarWidth = 20;
// Of a model's clients.
constexpr size_t kNamesMax = 3;

std::string Bar(uint64_t part, uint64_t whole) {
  if (whole == 0) return "";
  const double share = std::min(static_cast<double>(part) / static_cast<double>(whole), 1.0);
  const auto filled = static_cast<size_t>(share * kBarWidth);
  return absl::StrFormat("[%s%s] %3.0f %%", std::string(filled, '#'),
                         std::string(kBarWidth - filled, '-'), share * 100);
}

std::string TimeLeft(const v1::Generation& generation, uint64_t rate) {
  if (rate == 0 || generation.bytes_done() >= generation.bytes_total()) return "";
  const uint64_t left = generation.bytes_total() - generation.bytes_done();
  return absl::FormatDuration(absl::Seconds((left + rate - 1) / rate));
}

void ShowHead(const TopLook& look, std::ostream& out) {
  const v1::GetStatusResponse& status = look.status;
  const absl::Duration up = look.time - absl::FromUnixSeconds(status.start_time().seconds());
  out << "weightd " << Printable(status.version()) << ", "
      << (status.draining() ? "draining" : "serving") << ", up "
      << absl::FormatDuration(absl::Trunc(std::max(up, absl::ZeroDuration()), absl::Seconds(1)))
      << ", " << Printable(status.storage().engine()) << "; stages: " << status.jobs_running()
      << " running, " << status.jobs_queued() << " queued; "
      << Counted(status.lease_count(), "lease") << "\n";
  for (const v1::VolumeStatus& volume : status.volumes()) {
    for (const std::string& text : StuckTexts(volume)) out << "stuck: " << Printable(text) << '\n';
  }
  out << '\n';
}

void ShowMemory(const TopLook& look, bool color, std::ostream& out) {
  Table table({{"DEVICE"},
               {"MEMORY"},
               {"USED", true},
               {"BUDGET", true},
               {"STAGING", true},
               {"LEASED", true},
               {"PINNED", true}});
  for (const v1::Device& device : look.status.devices()) {
    table.AddRow({device.id(), Bar(device.used_bytes(), device.budget_bytes()),
                  FormatBytes(device.used_bytes()), FormatBytes(device.budget_bytes()),
                  FormatBytes(device.staging_bytes()), FormatBytes(device.leased_bytes()),
                  FormatBytes(device.pinned_bytes())});
  }
  table.Print(out, color);
}

void ShowLeases(const TopLook& look, bool color, std::ostream& out) {
  struct Holders {
    size_t count = 0;
    std::set<std::string> names;
  };
  std::map<std::pair<std::string, std::string>, Holders> holders;
  for (const v1::Lease& lease : look.leases.leases()) {
    Holders& of_model = holders[{lease.model(), lease.device()}];
    ++of_model.count;
    if (!lease.client_name().empty()) of_model.names.insert(lease.client_name());
  }
  Table table({{"LEASED MODEL"}, {"DEVICE"}, {"LEASES", true}, {"CLIENTS"}});
  for (const auto& [place, of_model] : holders) {
    std::vector<std::string> names(of_model.names.begin(), of_model.names.end());
    if (names.size() > kNamesMax) {
      names.resize(kNamesMax);
      names.emplace_back("...");
    }
    table.AddRow(
        {place.first, place.second, absl::StrCat(of_model.count), absl::StrJoin(names, ", ")});
  }
  out << '\n';
  table.Print(out, color);
}

}  // namespace

// Of a job that the look before did not have there is only the rate since it began.
uint64_t TopView::RateOf(const v1::Generation& generation, absl::Time now) const {
  const auto before = before_.find({generation.job_id(), generation.device()});
  if (before == before_.end() || now <= before->second.time ||
      generation.bytes_done() < before->second.bytes) {
    return generation.bytes_per_second();
  }
  const double seconds = absl::ToDoubleSeconds(now - before->second.time);
  return static_cast<uint64_t>(static_cast<double>(generation.bytes_done() - before->second.bytes) /
                               seconds);
}

void TopView::ShowStages(const TopLook& look, bool color, std::ostream& out) {
  Table table({{"JOB", true},
               {"STAGED MODEL"},
               {"DEVICE"},
               {"PHASE"},
               {"PROGRESS"},
               {"DONE", true},
               {"TOTAL", true},
               {"RATE", true},
               {"LEFT", true}});
  std::map<Place, Progress> now;
  for (const v1::Model& model : look.models.models()) {
    for (const v1::Generation& generation : model.generations()) {
      if (generation.state() != v1::STAGING) continue;
      const uint64_t rate = RateOf(generation, look.time);
      now[{generation.job_id(), generation.device()}] = {look.time, generation.bytes_done()};
      table.AddRow({absl::StrCat(generation.job_id()), model.name(), generation.device(),
                    PhaseName(generation.phase()),
                    Bar(generation.bytes_done(), generation.bytes_total()),
                    FormatBytes(generation.bytes_done()), FormatBytes(generation.bytes_total()),
                    FormatRate(rate), TimeLeft(generation, rate)});
    }
  }
  before_ = std::move(now);
  out << '\n';
  table.Print(out, color);
}

void TopView::Show(const TopLook& look, bool color, std::ostream& out) {
  ShowHead(look, out);
  ShowMemory(look, color, out);
  ShowStages(look, color, out);
  ShowLeases(look, color, out);
}

}  // namespace weightd::cli

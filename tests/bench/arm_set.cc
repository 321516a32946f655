#include "tests/bench/arm_set.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/device/host_memory.h"
#include "tests/bench/fio.h"
#include "tests/bench/null_device.h"
#include "tests/bench/plain_readers.h"

namespace weightd::bench {
namespace {

// The ceilings, as fio's users set them: 4 MiB times 32, and for libaio the same depth of 8 MiB.
constexpr FioOptions kUringCeiling = {
    .engine = FioEngine::kUring, .block_bytes = 4 * kMiB, .depth = 32};
constexpr FioOptions kLibaioCeiling = {
    .engine = FioEngine::kLibaio, .block_bytes = 8 * kMiB, .depth = 32};

constexpr uint32_t kLoaderThreads = 16;
constexpr uint64_t kLoaderChunkBytes = 2 * kMiB;
constexpr uint32_t kManyThreads = 16;

// Staging buffers of all our stagers, and what fio and alignment take beside the buffers.
constexpr uint64_t kStagingBytes = 256 * kMiB;
constexpr uint64_t kSlackBytes = 32 * kMiB;

absl::StatusOr<Sample> SampleOf(absl::StatusOr<StageResult> result) {
  RETURN_IF_ERROR(result.status());
  return result->sample;
}

// Into an allocation of its own, all of it reserved huge pages.
absl::StatusOr<Sample> TimeHugeHostStage(const FileSet& files, const StageSetup& setup) {
  ASSIGN_OR_RETURN(const StageResult result, TimeStage(files, setup));
  ASSIGN_OR_RETURN(const Export memory, result.allocation->CreateExport());
  struct stat facts {};
  if (::fstat(memory.fd.get(), &facts) != 0) return PosixError(errno, "look at a memfd");
  // hugetlbfs gives its pages for blocks.
  if (facts.st_blksize == static_cast<blksize_t>(kHugePageBytes)) return result.sample;
  return absl::UnavailableError("the destination is not made of reserved huge pages");
}

// What every stage into fresh host memory pays before a byte is read: its pages, cleared by the
// kernel.
absl::StatusOr<Sample> TimePages(Device& device, uint64_t bytes) {
  const Stopwatch watch;
  ASSIGN_OR_RETURN(const std::unique_ptr<Allocation> allocation, device.Allocate(bytes));
  RETURN_IF_ERROR(allocation->Seal());
  return watch.Read(allocation->bytes());
}

}  // namespace

ArmSet::ArmSet(const std::set<std::string>& wanted, const FileSet& window,
               const FileSet& small_tensors, HugePageReserve& huge_pages)
    : window_(window),
      small_tensors_(small_tensors),
      huge_pages_(huge_pages),
      null_device_(CreateNullDevice()),
      small_host_device_(CreateHostDevice({.huge_pages = HostDeviceOptions::HugePages::kOff})) {
  // The one with small pages comes first: afterwards there are reserved ones to take.
  std::vector<std::string> order(wanted.begin(), wanted.end());
  // No figure's, but the floor below two of them.
  if (wanted.contains("host")) order.emplace_back("host_pages");
  std::stable_partition(order.begin(), order.end(),
                        [](const std::string& name) { return name == "cold_small"; });
  if (wanted.contains("cold_small")) {
    reserved_ = huge_pages_.ReserveNone();
    auto stager = reserved_.ok() ? CreateSmallPageStager(*null_device_) : reserved_;
    if (stager.ok()) {
      small_page_stager_ = *std::move(stager);
    } else {
      refused_["cold_small"] = stager.status();
    }
  }
  reserved_ = huge_pages_.Reserve(HugeBytes(wanted));
  host_device_ = CreateHostDevice({});  // it warns of what it lacks when it is made
  for (const std::string& name : order) {
    if (refused_.contains(name)) continue;
    if (absl::Status status = Prepare(name); !status.ok()) refused_[name] = std::move(status);
  }
}

ArmSet::~ArmSet() = default;

std::vector<std::string> ArmSet::fallbacks() const {
  std::set<std::string> all;
  for (const auto& [key, stager] : stagers_) AddFallbacks(*stager, all);
  for (const Warning& warning : host_device_->warnings()) all.insert(warning.text);
  return {all.begin(), all.end()};
}

uint64_t ArmSet::HugeBytes(const std::set<std::string>& wanted) const {
  uint64_t bytes = kStagingBytes + kSlackBytes;
  if (wanted.contains("host")) bytes += window_.bytes;
  if (wanted.contains("warm")) bytes += window_.bytes;
  uint64_t fio_bytes = 0;  // they run one at a time
  if (wanted.contains("fio_uring")) fio_bytes = kUringCeiling.buffer_bytes();
  if (wanted.contains("fio_libaio")) fio_bytes = kLibaioCeiling.buffer_bytes();
  return bytes + fio_bytes;
}

absl::Status ArmSet::Prepare(const std::string& name) {
  if (absl::StartsWith(name, "fio_")) return PrepareFio(name);
  if (absl::StartsWith(name, "host")) return PrepareHost(name);
  if (name == "warm" || absl::StartsWith(name, "buffered_")) return PrepareWarm(name);
  if (absl::StartsWith(name, "loader_") || name == "tensors_each") {
    PreparePlain(name);
    return absl::OkStatus();
  }
  return PrepareOurs(name);
}

absl::StatusOr<Stager*> ArmSet::StagerFor(ReadEngine engine, Device& device) {
  std::unique_ptr<Stager>& stager = stagers_[{engine, &device}];
  if (stager == nullptr) {
    auto made = CreateStager({.engine = engine}, device);
    if (!made.ok()) {
      stagers_.erase({engine, &device});
      return made.status();
    }
    stager = *std::move(made);
  }
  return stager.get();
}

void ArmSet::Add(const std::string& name, const FileSet& files, CacheState cache,
                 std::function<absl::StatusOr<Sample>()> run) {
  arms_.push_back({.name = name, .files = &files, .cache = cache, .run = std::move(run)});
}

absl::Status ArmSet::PrepareFio(const std::string& name) {
  RETURN_IF_ERROR(FioVersion().status());
  if (!reserved_.ok()) {
    return Annotate(reserved_, "a ceiling without huge pages would be none");
  }
  const FioOptions options = name == "fio_uring" ? kUringCeiling : kLibaioCeiling;
  Add(name, window_, CacheState::kCold, [this, options] { return RunFio(window_, options); });
  return absl::OkStatus();
}

absl::Status ArmSet::PrepareOurs(const std::string& name) {
  StageSetup setup = {.device = null_device_.get(), .expected = ForcedMode::kDirect};
  if (name == "cold_small") {
    setup.stager = small_page_stager_.get();
  } else {
    const ReadEngine engine = name == "cold_pread" ? ReadEngine::kPread : ReadEngine::kUring;
    ASSIGN_OR_RETURN(setup.stager, StagerFor(engine, *null_device_));
  }
  CacheState cache = CacheState::kCold;
  if (absl::StartsWith(name, "half")) {
    cache = CacheState::kHalfWarm;
    setup.mode = name == "half_direct"     ? ForcedMode::kDirect
                 : name == "half_buffered" ? ForcedMode::kBuffered
                                           : ForcedMode::kNone;
    setup.expected = setup.mode;
  }
  setup.time_opening = name != "tensors_runs";
  const FileSet& files = name == "tensors_runs" ? small_tensors_ : window_;
  Add(name, files, cache, [&files, setup] { return SampleOf(TimeStage(files, setup)); });
  return absl::OkStatus();
}

absl::Status ArmSet::PrepareHost(const std::string& name) {
  if (name != "host_small") RETURN_IF_ERROR(reserved_);
  if (name == "host_pages") {
    Add(name, window_, CacheState::kIrrelevant,
        [this] { return TimePages(*host_device_, window_.bytes); });
    return absl::OkStatus();
  }
  Device& device = name == "host" ? *host_device_ : *small_host_device_;
  ASSIGN_OR_RETURN(Stager * stager, StagerFor(ReadEngine::kUring, device));
  const StageSetup setup = {.stager = stager, .device = &device, .expected = ForcedMode::kDirect};
  const bool huge = name == "host";
  Add(name, window_, CacheState::kCold, [this, setup, huge] {
    return huge ? TimeHugeHostStage(window_, setup) : SampleOf(TimeStage(window_, setup));
  });
  return absl::OkStatus();
}

absl::Status ArmSet::MakeDestination() {
  if (destination_ != nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(destination_, host_device_->Allocate(window_.bytes + 2 * kMiB));
  while (true) {
    ASSIGN_OR_RETURN(const uint64_t ready, destination_->ready_bytes());
    if (ready == destination_->bytes()) return absl::OkStatus();
    absl::SleepFor(absl::Milliseconds(10));  // tidy: an allocation tells only who asks
  }
}

absl::Status ArmSet::PrepareWarm(const std::string& name) {
  RETURN_IF_ERROR(MakeDestination());
  if (name == "warm") {
    ASSIGN_OR_RETURN(Stager * stager, StagerFor(ReadEngine::kUring, *host_device_));
    const StageSetup setup = {.stager = stager,
                              .device = host_device_.get(),
                              .destination = destination_.get(),
                              .expected = ForcedMode::kBuffered};
    Add(name, window_, CacheState::kWarm,
        [this, setup] { return SampleOf(TimeStage(window_, setup)); });
    return absl::OkStatus();
  }
  BufferedReadOptions options = {.threads = 1, .destination = destination_->host_memory()};
  if (name == "buffered_cores") options.threads = std::max(1U, std::thread::hardware_concurrency());
  if (name == "buffered_16") options.threads = kManyThreads;
  Add(name, window_, CacheState::kWarm,
      [this, options] { return TimeBufferedReads(window_, options); });
  return absl::OkStatus();
}

void ArmSet::PreparePlain(const std::string& name) {
  if (name == "loader_threads") {
    Add(name, window_, CacheState::kCold, [this] {
      return TimeBufferedReads(window_,
                               {.threads = kLoaderThreads, .chunk_bytes = kLoaderChunkBytes});
    });
  } else if (name == "loader_mmap") {
    Add(name, window_, CacheState::kCold, [this] { return TimeMappedReads(window_); });
  } else {
    Add(name, small_tensors_, CacheState::kCold,
        [this] { return TimeTensorReads(small_tensors_); });
  }
}

}  // namespace weightd::bench

#include "tests/bench/stage_arms.h"

#include <sys/prctl.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/proc_text.h"
#include "common/status_macros.h"
#include "daemon/catalog/catalog.h"
#include "daemon/device/host_memory.h"
#include "daemon/staging/layout.h"
#include "daemon/staging/staging_pool.h"
#include "daemon/storage/read_queue.h"

namespace weightd::bench {
namespace {

// A file that says of the page cache what it is told to say.
class ForcedModeFile final : public File {
 public:
  ForcedModeFile(std::shared_ptr<File> file, ForcedMode mode)
      : file_(std::move(file)), mode_(mode) {}
  const std::string& path() const override { return file_->path(); }
  const FileIdentity& identity() const override { return file_->identity(); }
  uint32_t direct_alignment() const override { return file_->direct_alignment(); }
  FileSystemKind file_system() const override { return file_->file_system(); }
  int descriptor(ReadMode mode) const override { return file_->descriptor(mode); }
  std::unique_ptr<FileUse> Use() const override { return file_->Use(); }
  absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> buffer) const override {
    return file_->ReadAt(offset, buffer);
  }
  CacheLook LookInCache(uint64_t /*offset*/, uint64_t /*length*/) const override {
    return {.cached = mode_ == ForcedMode::kBuffered, .known = true};
  }
  absl::Status CheckUnchanged() const override { return file_->CheckUnchanged(); }

 private:
  const std::shared_ptr<File> file_;
  const ForcedMode mode_;
};

absl::StatusOr<OpenedCheckpoint> Open(const FileSet& files) {
  ASSIGN_OR_RETURN(std::unique_ptr<Volume> volume, OpenVolume(files.folder));
  Checkpoint checkpoint;
  checkpoint.model = "bench";
  checkpoint.volume = std::move(volume);
  checkpoint.shard_paths = files.names;
  checkpoint.file_bytes = files.bytes;
  return Catalog({checkpoint.volume}, {}).Open(checkpoint);
}

absl::Status CheckWay(const StageOutcome& outcome, ForcedMode expected) {
  const uint64_t other_bytes =
      outcome.buffered_bytes + (expected == ForcedMode::kDirect     ? outcome.cached_bytes
                                : expected == ForcedMode::kBuffered ? outcome.direct_bytes
                                                                    : 0);
  if (other_bytes == 0) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat(other_bytes, " bytes went another way than meant: direct ", outcome.direct_bytes,
                   ", cached ", outcome.cached_bytes, ", refused direct ", outcome.buffered_bytes));
}

uint64_t TransparentHugeBytes() {
  return ProcNumber(ReadProcFile("/proc/self/smaps_rollup"), "AnonHugePages").value_or(0);
}

}  // namespace

absl::StatusOr<StageResult> TimeStage(const FileSet& files, const StageSetup& setup) {
  const std::atomic<bool> cancelled = false;
  StageResult result;
  std::optional<Stopwatch> watch(std::in_place);
  ASSIGN_OR_RETURN(OpenedCheckpoint opened, Open(files));
  if (!setup.time_opening) watch.emplace();
  std::vector<std::shared_ptr<File>> read_files = opened.files;
  if (setup.mode != ForcedMode::kNone) {
    for (auto& file : read_files) file = std::make_shared<ForcedModeFile>(file, setup.mode);
  }
  const bool is_host = setup.device->info().kind == DeviceKind::kHost;
  ASSIGN_OR_RETURN(const Layout layout,
                   PlanLayout(opened.manifest,
                              is_host ? LayoutTarget::kHostMemory : LayoutTarget::kDeviceMemory));
  Allocation* destination = setup.destination;
  if (destination == nullptr) {
    ASSIGN_OR_RETURN(result.allocation, setup.device->Allocate(layout.allocation_bytes));
    destination = result.allocation.get();
  }
  StageInput input;
  input.manifest = &opened.manifest;
  input.files = read_files;
  input.layout = &layout;
  input.targets = {{.device = setup.device, .destination = destination}};
  input.cancelled = &cancelled;
  input.digest.mode = setup.verify;
  bool abandoned = false;
  absl::StatusOr<StageOutcome> run = setup.stager->Run(input, &abandoned);
  if (abandoned) {  // reads that hang still use what this function has
    std::fprintf(stderr, "%s\n", run.status().ToString().c_str());
    std::_Exit(1);
  }
  ASSIGN_OR_RETURN(const StageOutcome outcome, std::move(run));
  RETURN_IF_ERROR(opened.CheckUnchanged());
  if (result.allocation != nullptr && setup.seal) RETURN_IF_ERROR(result.allocation->Seal());
  result.sample = watch->Read(outcome.bytes_read());
  RETURN_IF_ERROR(CheckWay(outcome, setup.expected));
  return result;
}

absl::StatusOr<Sample> TimeTensorReads(const FileSet& files) {
  constexpr uint32_t kDepth = 16;
  ASSIGN_OR_RETURN(const OpenedCheckpoint opened, Open(files));
  ASSIGN_OR_RETURN(const auto pool, StagingPool::Create(kDepth, 2 * kMiB, {}));
  ReadQueueOptions options;
  options.engine = ReadEngine::kUring;
  options.depth = kDepth;
  options.slots = pool->slots();
  ASSIGN_OR_RETURN(const auto queue, CreateReadQueue(options));
  std::vector<uint32_t> free_slots;
  for (uint32_t i = 0; i < kDepth; ++i) free_slots.push_back(i);
  absl::Status status;
  const auto take = [&](const ReadDone& done) {
    status.Update(done.status);
    free_slots.push_back(static_cast<uint32_t>(done.tag));
  };

  const Stopwatch watch;
  uint64_t bytes = 0;
  for (const TensorEntry& tensor : opened.manifest.tensors) {
    while (free_slots.empty()) RETURN_IF_ERROR(queue->Poll(absl::InfiniteDuration(), take));
    RETURN_IF_ERROR(status);
    const uint32_t slot = free_slots.back();
    free_slots.pop_back();
    const uint64_t begin = opened.manifest.shards[tensor.shard_index].data_offset + tensor.offset;
    const uint64_t offset = AlignDown(begin, kCongruenceModulus);
    RETURN_IF_ERROR(queue->Submit({.file = opened.files[tensor.shard_index].get(),
                                   .offset = offset,
                                   .length = begin + tensor.bytes - offset,
                                   .buffer = pool->slot(slot),
                                   .mode = ReadMode::kDirect,
                                   .slot = static_cast<int32_t>(slot),
                                   .tag = slot}));
    bytes += tensor.bytes;
  }
  while (queue->in_flight() > 0) RETURN_IF_ERROR(queue->Poll(absl::InfiniteDuration(), take));
  RETURN_IF_ERROR(status);
  return watch.Read(bytes);
}

absl::StatusOr<std::unique_ptr<Stager>> CreateStager(const StagerSetup& setup, Device& device) {
  StagerOptions options;
  if (setup.block_bytes > 0) options.block_bytes = setup.block_bytes;
  options.depth = setup.depth;
  if (setup.slot_count > 0) options.slot_count = setup.slot_count;
  options.read_queue.engine = setup.engine;
  return Stager::Create(options, {&device}, ThreadExecutor::Get());
}

void AddFallbacks(const Stager& stager, std::set<std::string>& fallbacks) {
  for (const Warning& fallback : stager.fallbacks()) fallbacks.insert(fallback.text);
  if (stager.page_kind() == PageKind::kHugetlb) return;
  fallbacks.insert(absl::StrCat("staging buffers: ", PageKindName(stager.page_kind()), " pages"));
}

absl::StatusOr<std::unique_ptr<Stager>> CreateSmallPageStager(Device& device) {
  if (ReadHostMemory().free_huge_bytes > 0) {
    return absl::FailedPreconditionError("reserved huge pages are free (vm.nr_hugepages)");
  }
  const uint64_t before = TransparentHugeBytes();
  ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  absl::StatusOr<std::unique_ptr<Stager>> stager = CreateStager({}, device);
  ::prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
  RETURN_IF_ERROR(stager.status());
  if (TransparentHugeBytes() > before) {
    return absl::FailedPreconditionError("the kernel made huge pages that were switched off");
  }
  return stager;
}

}  // namespace weightd::bench

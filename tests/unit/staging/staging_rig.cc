#include "tests/unit/staging/staging_rig.h"

#include <random>
#include <utility>

#include "common/align.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace weightd::testing {
namespace {

std::string RandomBytes(uint64_t seed, uint64_t count) {
  std::mt19937_64 random(seed);
  std::string bytes(AlignUp(count, 8), '\0');
  for (size_t i = 0; i < bytes.size(); i += 8) {
    const uint64_t word = random();
    bytes.replace(i, 8, reinterpret_cast<const char*>(&word), 8);
  }
  bytes.resize(count);
  return bytes;
}

std::unique_ptr<Stager> MakeStager(const RigOptions& options, MemoryDevice& device) {
  auto pool = StagingPool::Create(options.slot_count, 2 * kMiB);
  WEIGHTD_CHECK(pool.ok());
  ReadQueueOptions queue_options;
  queue_options.depth = options.depth;
  queue_options.slots = (*pool)->slots();
  queue_options.stall_timeout = options.stall_timeout;
  auto queue = MemoryReadQueue::Create(queue_options, options.reads);
  WEIGHTD_CHECK(queue.ok());
  WEIGHTD_CHECK(device.RegisterStaging((*pool)->memory()).ok());
  StagerOptions stager_options;
  stager_options.block_bytes = options.block_bytes;
  stager_options.depth = options.depth;
  stager_options.slot_count = options.slot_count;
  stager_options.read_queue = queue_options;
  return std::make_unique<Stager>(
      stager_options, *std::move(pool),
      std::make_unique<FaultyReadQueue>(*std::move(queue), options.faults),
      std::vector<Device*>{&device});
}

}  // namespace

StagingRig::StagingRig(const RigOptions& options, Manifest manifest)
    : manifest_(std::move(manifest)), volume_(options.direct_alignment), device_(options.device) {
  uint64_t seed = 1;
  for (const ShardEntry& shard : manifest_.shards) {
    contents_[shard.path] = RandomBytes(seed++, shard.file_bytes);
    volume_.AddFile(shard.path, contents_[shard.path]);
    auto file = volume_.Open(shard.path);
    WEIGHTD_CHECK(file.ok());
    files_.push_back(*std::move(file));
  }
  stager_ = MakeStager(options, device_);
}

absl::StatusOr<StageOutcome> StagingRig::Run() {
  const bool host = device_.info().kind == DeviceKind::kHost;
  ASSIGN_OR_RETURN(layout_, PlanLayout(manifest_, host ? LayoutTarget::kHostMemory
                                                       : LayoutTarget::kDeviceMemory));
  ASSIGN_OR_RETURN(allocation_, device_.Allocate(layout_.allocation_bytes));
  progress_.clear();
  StageInput input;
  input.manifest = &manifest_;
  input.files = files_;
  input.layout = &layout_;
  input.device = &device_;
  input.destination = allocation_.get();
  return stager_->Run(input, cancelled_, [this](uint64_t bytes) {
    progress_.push_back(bytes);
    if (cancel_at_bytes_.has_value() && bytes >= *cancel_at_bytes_) cancelled_ = true;
  });
}

bool StagingRig::Equal() const {
  for (size_t i = 0; i < manifest_.tensors.size(); ++i) {
    const TensorEntry& tensor = manifest_.tensors[i];
    const ShardEntry& shard = manifest_.shards[tensor.shard_index];
    std::string bytes(tensor.bytes, '\0');
    const auto span = absl::MakeSpan(reinterpret_cast<std::byte*>(bytes.data()), bytes.size());
    if (!allocation_->CopyOut(layout_.tensor_offsets[i], span).ok()) return false;
    const std::string& content = contents_.at(shard.path);
    if (content.compare(shard.data_offset + tensor.offset, tensor.bytes, bytes) != 0) return false;
  }
  return true;
}

void StagingRig::Destroy() {
  stager_.reset();
  allocation_.reset();
}

Manifest ExampleManifest() {
  Manifest manifest;
  AddShard(manifest, 5000, {{Dtype::kF32, 60'000}, {Dtype::kU8, 3}, {Dtype::kF32, 40'000}});
  AddShard(manifest, 800, {{Dtype::kBf16, 50'000}, {Dtype::kF64, 0}});
  return manifest;
}

}  // namespace weightd::testing

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

}  // namespace

StagingRig::StagingRig(const RigOptions& options, Manifest manifest)
    : options_(options),
      manifest_(std::move(manifest)),
      volume_(options.direct_alignment),
      device_(options.device) {
  uint64_t seed = 1;
  for (const ShardEntry& shard : manifest_.shards) {
    contents_[shard.path] = RandomBytes(seed++, shard.file_bytes);
  }
  if (options.verify != VerifyMode::kNone) StoreHashes(contents_, manifest_);
  ShardContents on_volume = contents_;
  if (options.encrypted) Encrypt(/*one_piece=*/false, manifest_, on_volume);
  for (const ShardEntry& shard : manifest_.shards) {
    volume_.AddFile(shard.path, on_volume[shard.path]);
    auto file = volume_.Open(shard.path);
    WEIGHTD_CHECK(file.ok());
    files_.push_back(*std::move(file));
  }
  auto pool = StagingPool::Create(options.slot_count, 2 * kMiB, {&device_});
  WEIGHTD_CHECK(pool.ok());
  pool_ = *std::move(pool);
  ReaderOptions reader_options;
  reader_options.block_bytes = options.block_bytes;
  reader_options.loop = {.depth_max = options.depth, .stall_timeout = options.stall_timeout};
  auto reader = Reader::Create(
      reader_options, *pool_, [this] { return MakeQueue(); }, ThreadExecutor::Get());
  WEIGHTD_CHECK(reader.ok());
  reader_ = *std::move(reader);
}

StagingRig::~StagingRig() { Destroy(); }

absl::StatusOr<std::unique_ptr<ReadQueue>> StagingRig::MakeQueue() {
  ReadQueueOptions queue_options;
  queue_options.depth = options_.depth;
  queue_options.slots = pool_->slots();
  queue_options.stall_timeout = options_.stall_timeout;
  if (queues_made_++ > 0) return MemoryReadQueue::Create(queue_options, {});
  ASSIGN_OR_RETURN(auto queue, MemoryReadQueue::Create(queue_options, options_.reads));
  return std::make_unique<FaultyReadQueue>(std::move(queue), options_.faults);
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
  input.targets = {{.device = &device_, .destination = allocation_.get()}};
  input.cancelled = &cancelled_;
  input.digest.mode = options_.verify;
  input.digest.keys.assign(manifest_.shards.size(), TestKey());
  input.on_progress = [this](uint64_t bytes) {
    progress_.push_back(bytes);
    if (cancel_at_bytes_.has_value() && bytes >= *cancel_at_bytes_) cancelled_ = true;
  };
  input.model = "model";
  input.root = volume_.root();
  input.keep = std::make_shared<int>();
  kept_ = input.keep;
  input.keep_plan = std::make_shared<int>();
  kept_plan_ = input.keep_plan;
  input.on_abandoned = [this](const auto& parts, bool keeps_plan) {
    kept_parts_ = parts.front();
    says_plan_kept_ = keeps_plan;
  };
  return reader_->Run(input, &abandoned_);
}

bool StagingRig::Equal() const {
  for (size_t i = 0; i < manifest_.tensors.size(); ++i) {
    const TensorEntry& tensor = manifest_.tensors[i];
    std::string bytes(tensor.bytes, '\0');
    const auto span = absl::MakeSpan(reinterpret_cast<std::byte*>(bytes.data()), bytes.size());
    if (!allocation_->CopyOut(layout_.tensor_offsets[i], span).ok()) return false;
    const std::string wanted =
        tensor.is_meta ? std::string(tensor.bytes, '\0') : TensorBytesOf(manifest_, contents_, i);
    if (bytes != wanted) return false;
  }
  return true;
}

void StagingRig::Destroy() {
  if (reader_ == nullptr) return;
  reader_.reset();
  allocation_.reset();
  pool_.reset();
}

Manifest ExampleManifest() {
  Manifest manifest;
  AddShard(manifest, 5000, {{Dtype::kF32, 60'000}, {Dtype::kU8, 3}, {Dtype::kF32, 40'000}});
  AddShard(manifest, 800, {{Dtype::kBf16, 50'000}, {Dtype::kF64, 0}});
  return manifest;
}

}  // namespace weightd::testing

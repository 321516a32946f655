#include "daemon/staging/stager.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <utility>

#include "absl/synchronization/notification.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/device/memory_device.h"
#include "tests/support/process/wait_until.h"
#include "tests/support/storage/faulty_disk.h"
#include "tests/unit/staging/test_manifest.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

StagerOptions SmallOptions(ReadEngine engine) {
  StagerOptions options;
  options.block_bytes = 2 * kMiB;
  options.depth = 4;
  options.slot_count = 2;
  options.read_queue.engine = engine;
  options.read_queue.pread_threads = 2;
  return options;
}

TEST(StagerTest, OptionsAreCheckedAtTheirLimits) {
  const auto with = [](void (*change)(StagerOptions&)) {
    StagerOptions options;
    change(options);
    return options.Validate();
  };
  EXPECT_OK(with([](StagerOptions&) {}));
  EXPECT_OK(with([](StagerOptions& o) { o.block_bytes = 2 * kMiB; }));
  EXPECT_OK(with([](StagerOptions& o) { o.block_bytes = 64 * kMiB; }));
  EXPECT_OK(with([](StagerOptions& o) { o.depth = 1024, o.slot_count = 1024; }));
  const auto refused = [](const char* what) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what));
  };
  EXPECT_THAT(with([](StagerOptions& o) { o.block_bytes = kMiB; }), refused("block_bytes"));
  EXPECT_THAT(with([](StagerOptions& o) { o.block_bytes = 66 * kMiB; }), refused("block_bytes"));
  EXPECT_THAT(with([](StagerOptions& o) { o.block_bytes = 3 * kMiB; }), refused("block_bytes"));
  EXPECT_OK(with([](StagerOptions& o) { o.depth = 0; }));
  EXPECT_THAT(with([](StagerOptions& o) { o.depth = 1025; }), refused("depth"));
  EXPECT_THAT(with([](StagerOptions& o) { o.slot_count = 0; }), refused("slot_count"));
  EXPECT_THAT(with([](StagerOptions& o) { o.slot_count = 1025; }), refused("slot_count"));
  EXPECT_THAT(with([](StagerOptions& o) { o.read_queue.pread_threads = 0; }), refused("pread"));
}

TEST(StagerTest, PinsItsBuffersForEachDeviceWhileItLives) {
  MemoryDevice one;
  MemoryDevice two({.id = "GPU-memory-1"});
  {
    ASSERT_OK_AND_ASSIGN(const auto stager, Stager::Create(SmallOptions(ReadEngine::kPread),
                                                           {&one, &two}, ThreadExecutor::Get()));
    EXPECT_EQ(stager->engine(), ReadEngine::kPread);
    EXPECT_EQ(stager->pool_bytes(), 8 * kMiB);  // two devices' two blocks
    EXPECT_EQ(one.registered_count(), 2);       // of both pools: a stage may go to both devices
    EXPECT_EQ(two.registered_count(), 2);
  }
  EXPECT_EQ(one.registered_count(), 0);
  EXPECT_EQ(two.registered_count(), 0);
  EXPECT_THAT(one.violations(), IsEmpty());
}

TEST(StagerTest, QueueThatCannotBeMadeEndsCreateWithoutTraces) {
  MemoryDevice device;
  StagerOptions options = SmallOptions(ReadEngine::kPread);
  options.make_queue = [](const ReadQueueOptions&) { return absl::InternalError("no queue"); };
  EXPECT_THAT(Stager::Create(options, {&device}, ThreadExecutor::Get()),
              StatusIs(absl::StatusCode::kInternal, "no queue"));
  EXPECT_EQ(device.registered_count(), 0);
}

// Of a shard whose data begins at kDataOffset.
constexpr uint64_t kDataOffset = 1000;
std::string ShardContent() {
  std::string content(5 * kMiB + 4711, '\0');
  std::iota(content.begin(), content.end(), 0);
  for (size_t i = 0; i < content.size(); i += 251) content[i] = static_cast<char>(i / 251);
  return content;
}

// Stages the shard and gives back what arrived, and how.
struct Staged {
  std::string bytes;
  StageOutcome outcome;
};
absl::StatusOr<Staged> StageAll(Stager& stager, Device& device,
                                const std::vector<std::shared_ptr<File>>& files) {
  Manifest manifest;
  for (const auto& file : files) {
    const uint64_t bytes = file->identity().size_bytes - kDataOffset;
    AddShard(manifest, kDataOffset, {{Dtype::kF32, 4 * kMiB}, {Dtype::kU8, bytes - 4 * kMiB}});
  }
  const bool is_host = device.info().kind == DeviceKind::kHost;
  ASSIGN_OR_RETURN(
      const Layout layout,
      PlanLayout(manifest, is_host ? LayoutTarget::kHostMemory : LayoutTarget::kDeviceMemory));
  ASSIGN_OR_RETURN(const auto allocation, device.Allocate(layout.allocation_bytes));
  const std::atomic<bool> cancelled = false;
  StageInput input;
  input.manifest = &manifest;
  input.files = files;
  input.layout = &layout;
  input.targets = {{.device = &device, .destination = allocation.get()}};
  input.cancelled = &cancelled;
  Staged staged;
  bool abandoned = false;
  ASSIGN_OR_RETURN(staged.outcome, stager.Run(input, &abandoned));
  RETURN_IF_ERROR(allocation->Seal());
  for (size_t i = 0; i < files.size(); ++i) {
    const uint64_t bytes = files[i]->identity().size_bytes - kDataOffset;
    std::string part(bytes, '\0');
    auto* const to = reinterpret_cast<std::byte*>(part.data());
    RETURN_IF_ERROR(allocation->CopyOut(layout.tensor_offsets[2 * i], absl::MakeSpan(to, bytes)));
    staged.bytes += part;
  }
  return staged;
}

absl::StatusOr<Staged> Stage(Stager& stager, Device& device, std::shared_ptr<File> file) {
  return StageAll(stager, device, {std::move(file)});
}

// The whole path with the kernel's files: blocks of the smallest size that the product has.
TEST(StagerTest, ReadsRealFiles) {
  TempDir dir;
  const std::string content = ShardContent();
  ASSERT_OK(WriteRawFile(dir.File("shard-0.safetensors"), content));
  ASSERT_OK_AND_ASSIGN(const auto volume, OpenVolume(dir.path()));
  ASSERT_OK_AND_ASSIGN(const auto file, volume->Open("shard-0.safetensors"));
  MemoryDevice gpu;
  const auto host = CreateHostDevice({});
  ASSERT_OK_AND_ASSIGN(
      const auto stager,
      Stager::Create(SmallOptions(ReadEngine::kAuto), {&gpu, host.get()}, ThreadExecutor::Get()));
  for (Device* device : {static_cast<Device*>(&gpu), host.get()}) {
    ASSERT_OK_AND_ASSIGN(const Staged staged, Stage(*stager, *device, file));
    EXPECT_EQ(staged.outcome.bytes_read(), content.size() - kDataOffset);
    EXPECT_TRUE(staged.bytes == content.substr(kDataOffset)) << device->info().id;
  }
  EXPECT_THAT(gpu.violations(), IsEmpty());
}

FaultyDisk::Answer AnswerShort(const FaultyDisk::Read& read) {
  return {.bytes_max = std::min(read.bytes, 300'000U)};
}

// A checkpoint's first file says nothing of the others: each is read as its own volume wants it.
TEST(StagerTest, EachFileIsReadAsItsVolumeWantsIt) {
  TempDir dir;
  const std::string content = ShardContent();
  ASSERT_OK(WriteRawFile(dir.File("shard-0.safetensors"), content));
  std::filesystem::create_directory(dir.File("mount"));
  const auto disk = FaultyDisk::Create(content, AnswerShort, dir.File("mount"));
  if (!disk.ok()) GTEST_SKIP() << disk.status();
  std::filesystem::create_symlink("mount/file", dir.File("shard-1.safetensors"));
  ASSERT_OK_AND_ASSIGN(const auto volume, OpenVolume(dir.path()));
  EXPECT_NE(volume->file_system(), FileSystemKind::kFuse);
  MemoryDevice gpu;
  const auto host = CreateHostDevice({});
  ASSERT_OK_AND_ASSIGN(
      const auto stager,
      Stager::Create(SmallOptions(ReadEngine::kAuto), {&gpu, host.get()}, ThreadExecutor::Get()));
  const std::string data = content.substr(kDataOffset);
  for (Device* device : {static_cast<Device*>(&gpu), host.get()}) {
    ASSERT_OK_AND_ASSIGN(const auto local, volume->Open("shard-0.safetensors"));
    ASSERT_OK_AND_ASSIGN(const auto fuse, volume->Open("shard-1.safetensors"));
    EXPECT_EQ(fuse->file_system(), FileSystemKind::kFuse);
    for (const auto& files : {std::vector{local, fuse}, std::vector{fuse, local}}) {
      ASSERT_OK_AND_ASSIGN(const Staged staged, StageAll(*stager, *device, files));
      EXPECT_TRUE(staged.bytes == data + data) << device->info().id;
      EXPECT_EQ(staged.outcome.engine, stager->engine());
      if (stager->engine() == ReadEngine::kUring) {
        EXPECT_THAT(staged.outcome.fallbacks, Contains(HasSubstr("for 1 of 2 files")));
      }
    }
  }
}

// What an object store's mount may do at any time: a ring would put bytes of another place there.
TEST(StagerTest, ReadsFuseByThreadsThatKnowWhereTheyAre) {
  const std::string content = ShardContent();
  const auto disk = FaultyDisk::Create(content, AnswerShort);
  if (!disk.ok()) GTEST_SKIP() << disk.status();
  ASSERT_OK_AND_ASSIGN(const auto volume, OpenVolume((*disk)->root()));
  EXPECT_EQ(volume->file_system(), FileSystemKind::kFuse);
  MemoryDevice gpu;
  const auto host = CreateHostDevice({});
  ASSERT_OK_AND_ASSIGN(
      const auto stager,
      Stager::Create(SmallOptions(ReadEngine::kAuto), {&gpu, host.get()}, ThreadExecutor::Get()));
  for (Device* device : {static_cast<Device*>(&gpu), host.get()}) {
    ASSERT_OK_AND_ASSIGN(auto file, volume->Open("file"));
    ASSERT_OK_AND_ASSIGN(const Staged staged, Stage(*stager, *device, std::move(file)));
    EXPECT_TRUE(staged.bytes == content.substr(kDataOffset)) << device->info().id;
    EXPECT_EQ(staged.outcome.engine, ReadEngine::kPread);
    if (stager->engine() == ReadEngine::kUring) {
      EXPECT_THAT(staged.outcome.fallbacks, Contains(HasSubstr("pread instead of io_uring")));
    }
  }
}

// A queue whose thread the kernel keeps, as where a file system waits in the very call that
// submits.
class KeptQueue final : public ReadQueue {
 public:
  KeptQueue(std::unique_ptr<ReadQueue> queue, absl::Notification& answers)
      : queue_(std::move(queue)), answers_(answers) {}
  absl::Status Submit(const ReadRequest& request) override { return queue_->Submit(request); }
  absl::Status Poll(absl::Duration timeout,
                    absl::FunctionRef<void(const ReadDone&)> done) override {
    answers_.WaitForNotification();
    return queue_->Poll(timeout, done);
  }
  uint32_t in_flight() const override { return queue_->in_flight(); }
  uint32_t stuck() const override { return queue_->stuck(); }
  int wake_descriptor() const override { return queue_->wake_descriptor(); }
  ReadEngine engine() const override { return queue_->engine(); }
  const Warnings& fallbacks() const override { return queue_->fallbacks(); }

 private:
  const std::unique_ptr<ReadQueue> queue_;
  absl::Notification& answers_;
};

// Who waits keeps the deadline; another reader takes the place of the one that hangs.
TEST(StagerTest, ReaderWhoseThreadDoesNotComeBackIsLeftAndReplaced) {
  absl::Notification answers;
  int queues_made = 0;
  StagerOptions options = SmallOptions(ReadEngine::kPread);
  options.read_queue.stall_timeout = absl::Milliseconds(50);
  options.make_queue =
      [&](const ReadQueueOptions& queue) -> absl::StatusOr<std::unique_ptr<ReadQueue>> {
    ASSIGN_OR_RETURN(auto made, CreateReadQueue(queue));
    if (++queues_made > 1) return made;
    return std::make_unique<KeptQueue>(std::move(made), answers);
  };
  TempDir dir;
  ASSERT_OK(WriteRawFile(dir.File("shard-0.safetensors"), ShardContent()));
  ASSERT_OK_AND_ASSIGN(const auto volume, OpenVolume(dir.path()));
  ASSERT_OK_AND_ASSIGN(const auto file, volume->Open("shard-0.safetensors"));
  MemoryDevice gpu;
  ASSERT_OK_AND_ASSIGN(const auto stager, Stager::Create(options, {&gpu}, ThreadExecutor::Get()));
  Manifest manifest;
  AddShard(manifest, kDataOffset, {{Dtype::kF32, 4 * kMiB}});
  ASSERT_OK_AND_ASSIGN(const Layout layout, PlanLayout(manifest, LayoutTarget::kDeviceMemory));
  ASSERT_OK_AND_ASSIGN(const auto allocation, gpu.Allocate(layout.allocation_bytes));
  const std::vector<std::shared_ptr<File>> files = {file};
  const std::atomic<bool> cancelled = false;
  StageInput input;
  input.model = "model";
  input.manifest = &manifest;
  input.files = files;
  input.layout = &layout;
  input.targets = {{.device = &gpu, .destination = allocation.get()}};
  input.cancelled = &cancelled;
  auto keep = std::make_shared<int>();
  input.keep = keep;
  bool abandoned = false;
  EXPECT_THAT(stager->Run(input, &abandoned),
              AllOf(StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("shard-0.safetensors")),
                    ReasonIs(Reason::kVolumeStuck, HasSubstr(""))));
  EXPECT_TRUE(abandoned);
  EXPECT_EQ(stager->stuck().size(), 1U);
  EXPECT_TRUE(WaitUntil([&] { return stager->stuck()[0].hangs; }));
  input.keep.reset();
  EXPECT_GT(keep.use_count(), 1);

  EXPECT_OK(stager->Run(input, &abandoned));
  EXPECT_FALSE(abandoned);
  EXPECT_EQ(queues_made, 2);

  answers.Notify();
  EXPECT_TRUE(WaitUntil([&] { return keep.use_count() == 1; }));
  EXPECT_THAT(stager->stuck(), IsEmpty());
}

}  // namespace
}  // namespace weightd::testing

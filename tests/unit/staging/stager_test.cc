#include "daemon/staging/stager.h"

#include <numeric>

#include "common/align.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/device/memory_device.h"
#include "tests/unit/staging/test_manifest.h"

namespace weightd::testing {
namespace {

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
    ASSERT_OK_AND_ASSIGN(const auto stager,
                         Stager::Create(SmallOptions(ReadEngine::kPread), {&one, &two}));
    EXPECT_EQ(stager->engine(), ReadEngine::kPread);
    EXPECT_EQ(stager->pool_bytes(), 2 * 2 * 2 * kMiB);
    EXPECT_EQ(one.registered_count(), 1);
    EXPECT_EQ(two.registered_count(), 1);
  }
  EXPECT_EQ(one.registered_count(), 0);
  EXPECT_EQ(two.registered_count(), 0);
  EXPECT_THAT(one.violations(), IsEmpty());
}

TEST(StagerTest, QueueThatCannotBeMadeEndsCreateWithoutTraces) {
  MemoryDevice device;
  StagerOptions options = SmallOptions(ReadEngine::kPread);
  options.make_queue = [](const ReadQueueOptions&) { return absl::InternalError("no queue"); };
  EXPECT_THAT(Stager::Create(options, {&device}),
              StatusIs(absl::StatusCode::kInternal, "no queue"));
  EXPECT_EQ(device.registered_count(), 0);
}

// The whole path with the kernel's files: blocks of the smallest size that the product has.
TEST(StagerTest, ReadsRealFiles) {
  TempDir dir;
  std::string content(5 * kMiB + 4711, '\0');
  std::iota(content.begin(), content.end(), 0);
  for (size_t i = 0; i < content.size(); i += 251) content[i] = static_cast<char>(i / 251);
  ASSERT_OK(WriteRawFile(dir.File("shard-0.safetensors"), content));
  ASSERT_OK_AND_ASSIGN(const auto volume, OpenVolume(dir.path()));
  ASSERT_OK_AND_ASSIGN(const auto file, volume->Open("shard-0.safetensors"));
  Manifest manifest;
  AddShard(manifest, 1000,
           {{Dtype::kF32, 4 * kMiB}, {Dtype::kU8, content.size() - 4 * kMiB - 1000}});

  MemoryDevice gpu;
  const auto host = CreateHostDevice({});
  ASSERT_OK_AND_ASSIGN(const auto stager,
                       Stager::Create(SmallOptions(ReadEngine::kAuto), {&gpu, host.get()}));
  for (Device* device : {static_cast<Device*>(&gpu), host.get()}) {
    const bool is_host = device == host.get();
    ASSERT_OK_AND_ASSIGN(
        const Layout layout,
        PlanLayout(manifest, is_host ? LayoutTarget::kHostMemory : LayoutTarget::kDeviceMemory));
    ASSERT_OK_AND_ASSIGN(const auto allocation, device->Allocate(layout.allocation_bytes));
    const std::vector<std::shared_ptr<File>> files = {file};
    StageInput input;
    input.manifest = &manifest;
    input.files = files;
    input.layout = &layout;
    input.device = device;
    input.destination = allocation.get();
    const std::atomic<bool> cancelled = false;
    input.cancelled = &cancelled;
    ASSERT_OK_AND_ASSIGN(const StageOutcome outcome, stager->Run(input));
    EXPECT_EQ(outcome.bytes_read(), content.size() - 1000);
    ASSERT_OK(allocation->Seal());
    std::string read(content.size() - 1000, '\0');
    ASSERT_OK(allocation->CopyOut(
        layout.tensor_offsets[0],
        absl::MakeSpan(reinterpret_cast<std::byte*>(read.data()), read.size())));
    EXPECT_TRUE(read == content.substr(1000)) << device->info().id;
  }
  EXPECT_THAT(gpu.violations(), IsEmpty());
}

}  // namespace
}  // namespace weightd::testing

// One job's body on files, reads and a device in memory: the faults that real ones do not give.

#include "daemon/residency/stage_runner.h"

#include <cerrno>
#include <thread>

#include "absl/synchronization/notification.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/common/fake_clock.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/device/memory_device.h"
#include "tests/support/storage/faulty_read_queue.h"
#include "tests/support/storage/memory_read_queue.h"
#include "tests/support/storage/memory_volume.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kSlotBytes = uint64_t{2} << 20;

// A queue of which the destructor waits, as that of a ring does for a volume that hangs.
class HangingQueue final : public ReadQueue {
 public:
  HangingQueue(std::unique_ptr<ReadQueue> queue, absl::Notification& answers)
      : queue_(std::move(queue)), answers_(answers) {}
  ~HangingQueue() override { answers_.WaitForNotification(); }
  absl::Status Submit(const ReadRequest& request) override { return queue_->Submit(request); }
  absl::Status Poll(absl::Duration timeout,
                    absl::FunctionRef<void(const ReadDone&)> done) override {
    return queue_->Poll(timeout, done);
  }
  uint32_t in_flight() const override { return queue_->in_flight(); }
  ReadEngine engine() const override { return queue_->engine(); }
  const std::vector<std::string>& fallbacks() const override { return queue_->fallbacks(); }

 private:
  const std::unique_ptr<ReadQueue> queue_;
  absl::Notification& answers_;
};

class StageRunnerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    volume_->AddFile("a.safetensors", FileBytes());
    answers_ = std::make_unique<absl::Notification>();
  }

  static std::string FileBytes() {
    const std::vector<TensorSpec> specs = {{.name = "w", .dtype = Dtype::kU8, .shape = {100'000}}};
    return SafetensorsPrefix(SafetensorsHeaderText(specs, {})) + std::string(100'000, 'w');
  }

  std::unique_ptr<Stager> MakeStager(MemoryReadQueueOptions reads, QueueFaults faults = {},
                                     bool hangs = false) {
    auto pool = *StagingPool::Create(2, kSlotBytes);
    ReadQueueOptions queue_options;
    queue_options.slots = pool->slots();
    auto memory = *MemoryReadQueue::Create(queue_options, reads);
    std::unique_ptr<ReadQueue> queue =
        std::make_unique<FaultyReadQueue>(std::move(memory), std::move(faults));
    if (hangs) queue = std::make_unique<HangingQueue>(std::move(queue), *answers_);
    EXPECT_OK(device_.RegisterStaging(pool->memory()));
    StagerOptions options;
    options.block_bytes = 16 * 1024;
    options.read_queue = queue_options;
    return std::make_unique<Stager>(options, std::move(pool), std::move(queue),
                                    std::vector<Device*>{&device_});
  }

  void ExpectNothingLeft() {
    EXPECT_THAT(table_.List(), IsEmpty());
    EXPECT_EQ(table_.Usage()[0].used_bytes, 0);
    EXPECT_EQ(device_.allocation_count(), 0);
    EXPECT_THAT(device_.violations(), IsEmpty());
  }

  FakeClock clock_;
  EventLog events_{clock_, nullptr};
  std::shared_ptr<MemoryVolume> volume_ = std::make_shared<MemoryVolume>();
  Catalog catalog_{{volume_}, CatalogOptions{.header_threads = 1}};
  MemoryDevice device_{MemoryDeviceOptions{.id = "host", .kind = DeviceKind::kHost}};
  ResidencyTable table_{{{"host", DeviceKind::kHost, uint64_t{64} << 20}}};
  StageRunner runner_{catalog_, table_, events_, clock_};
  StageJob job_{JobId(1), "a", "host"};
  std::unique_ptr<absl::Notification> answers_;
};

TEST_F(StageRunnerTest, PublishesWhatItRead) {
  auto stager = MakeStager({});
  std::vector<GenerationId> published;
  runner_.set_publish_listener(
      [&](const GenerationContent& content) { published.push_back(content.id); });
  runner_.Run(job_, device_, stager);
  const StageSnapshot snapshot = job_.snapshot();
  ASSERT_OK(snapshot.status);
  EXPECT_THAT(published, ::testing::ElementsAre(snapshot.content->id));
  EXPECT_THAT(table_.List(), SizeIs(1));
  EXPECT_NE(stager, nullptr);
  EXPECT_EQ(snapshot.content->root, "/memory");
  EXPECT_THAT(snapshot.content->identities, SizeIs(1));
}

TEST_F(StageRunnerTest, ReadErrorLeavesNothing) {
  MemoryReadQueueOptions reads;
  reads.faults[3].error = EIO;
  auto stager = MakeStager(reads);
  runner_.Run(job_, device_, stager);
  EXPECT_THAT(job_.snapshot().status, AllOf(StatusIs(absl::StatusCode::kDataLoss,
                                                     HasSubstr("stage a: read a.safetensors at")),
                                            ReasonIs(Reason::kReadFailed, _)));
  EXPECT_NE(stager, nullptr);
  ExpectNothingLeft();
}

TEST_F(StageRunnerTest, HeaderThatCannotBeReadLeavesNothing) {
  volume_->FailReads("a.safetensors", EIO);
  auto stager = MakeStager({});
  runner_.Run(job_, device_, stager);
  EXPECT_THAT(job_.snapshot().status, ReasonIs(Reason::kReadFailed, _));
  ExpectNothingLeft();
}

TEST_F(StageRunnerTest, CancelledJobDoesNothing) {
  auto stager = MakeStager({});
  job_.Cancel();
  runner_.Run(job_, device_, stager);
  EXPECT_THAT(job_.snapshot().status, ReasonIs(Reason::kCancelled, _));
  ExpectNothingLeft();
}

TEST_F(StageRunnerTest, BrokenQueueIsReplaced) {
  QueueFaults faults;
  faults.break_after = 1;
  auto stager = MakeStager({}, faults);
  runner_.Run(job_, device_, stager);
  EXPECT_THAT(job_.snapshot().status,
              StatusIs(absl::StatusCode::kUnavailable, "stage a: read queue broken by the test"));
  EXPECT_EQ(stager, nullptr);
  ExpectNothingLeft();
}

// Reads that do not end keep their memory, and its bytes in the budget; whoever waits for the job
// is told all the same.
TEST_F(StageRunnerTest, HangingVolumeDoesNotKeepTheCallerWaiting) {
  MemoryReadQueueOptions reads;
  reads.faults[2].stalls = true;
  auto stager = MakeStager(reads, {}, /*hangs=*/true);
  absl::Notification failed;
  job_.Observe([&](const StageSnapshot& snapshot) {
    if (snapshot.final()) failed.Notify();
  });
  std::thread worker([&] { runner_.Run(job_, device_, stager); });
  failed.WaitForNotification();
  EXPECT_THAT(job_.snapshot().status, StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  EXPECT_EQ(device_.allocation_count(), 1);
  EXPECT_EQ(table_.Usage()[0].staging_bytes, kSlotBytes);
  answers_->Notify();
  worker.join();
  EXPECT_EQ(stager, nullptr);
  ExpectNothingLeft();
}

}  // namespace
}  // namespace weightd::testing

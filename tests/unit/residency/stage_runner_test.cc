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

constexpr uint64_t kBlockBytes = uint64_t{2} << 20;
// Some blocks, and no multiple of them.
constexpr uint64_t kTensorBytes = 4 * kBlockBytes + 100'000;
constexpr uint64_t kAllocationBytes = 5 * kBlockBytes;

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
  int wake_descriptor() const override { return queue_->wake_descriptor(); }
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
    const std::vector<TensorSpec> specs = {
        {.name = "w", .dtype = Dtype::kU8, .shape = {kTensorBytes}}};
    return SafetensorsPrefix(SafetensorsHeaderText(specs, {})) + std::string(kTensorBytes, 'w');
  }

  std::unique_ptr<Stager> MakeStager(const MemoryReadQueueOptions& reads,
                                     const QueueFaults& faults = {}, bool hangs = false) {
    StagerOptions options;
    options.block_bytes = kBlockBytes;
    options.make_queue =
        [=, this](const ReadQueueOptions& queue) -> absl::StatusOr<std::unique_ptr<ReadQueue>> {
      std::unique_ptr<ReadQueue> made =
          std::make_unique<FaultyReadQueue>(*MemoryReadQueue::Create(queue, reads), faults);
      if (hangs) made = std::make_unique<HangingQueue>(std::move(made), *answers_);
      return made;
    };
    return *Stager::Create(options, {&device_});
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
  ReportLog reports_;
  StageRunner runner_{catalog_, table_, events_, reports_, clock_};
  StageJob job_{JobId(1), "a", "host"};
  std::unique_ptr<absl::Notification> answers_;
};

TEST_F(StageRunnerTest, PublishesWhatItRead) {
  auto stager = MakeStager({});
  std::vector<GenerationId> published;
  runner_.set_publish_listener(
      [&](const GenerationContent& content) { published.push_back(content.id); });
  runner_.Run(job_, device_, *stager);
  const StageSnapshot snapshot = job_.snapshot();
  ASSERT_OK(snapshot.status);
  EXPECT_THAT(published, ::testing::ElementsAre(snapshot.content->id));
  EXPECT_THAT(table_.List(), SizeIs(1));
  EXPECT_EQ(snapshot.content->root, "/memory");
  ASSERT_THAT(reports_.List(), SizeIs(1));
  const StageRecord record = reports_.List().front();
  EXPECT_EQ(record.generation, snapshot.content->id);
  EXPECT_EQ(record.report.bytes_read(), kTensorBytes);
  EXPECT_THAT(snapshot.content->identities, SizeIs(1));
}

TEST_F(StageRunnerTest, ReadErrorLeavesNothing) {
  MemoryReadQueueOptions reads;
  reads.faults[3].error = EIO;
  auto stager = MakeStager(reads);
  runner_.Run(job_, device_, *stager);
  EXPECT_THAT(job_.snapshot().status, AllOf(StatusIs(absl::StatusCode::kDataLoss,
                                                     HasSubstr("stage a: read a.safetensors at")),
                                            ReasonIs(Reason::kReadFailed, _)));
  ExpectNothingLeft();
}

TEST_F(StageRunnerTest, HeaderThatCannotBeReadLeavesNothing) {
  volume_->FailReads("a.safetensors", EIO);
  auto stager = MakeStager({});
  runner_.Run(job_, device_, *stager);
  EXPECT_THAT(job_.snapshot().status, ReasonIs(Reason::kReadFailed, _));
  ExpectNothingLeft();
}

TEST_F(StageRunnerTest, CancelledJobDoesNothing) {
  auto stager = MakeStager({});
  job_.Cancel();
  runner_.Run(job_, device_, *stager);
  EXPECT_THAT(job_.snapshot().status, ReasonIs(Reason::kCancelled, _));
  ExpectNothingLeft();
  ASSERT_THAT(reports_.List(), SizeIs(1));
  EXPECT_THAT(reports_.List().front().status, ReasonIs(Reason::kCancelled, _));
}

TEST(ReportLogTest, KeepsTheLastAndGivesTheNewestFirst) {
  ReportLog log;
  for (uint64_t i = 1; i <= kReportsKept + 3; ++i) {
    StageRecord record;
    record.report.job = JobId(i);
    log.Add(std::move(record));
  }
  const std::vector<StageRecord> records = log.List();
  ASSERT_THAT(records, SizeIs(kReportsKept));
  EXPECT_EQ(records.front().report.job, JobId(kReportsKept + 3));
  EXPECT_EQ(records.back().report.job, JobId(4));
}

TEST_F(StageRunnerTest, BrokenQueueLeavesNothing) {
  QueueFaults faults;
  faults.break_after = 1;
  auto stager = MakeStager({}, faults);
  runner_.Run(job_, device_, *stager);
  EXPECT_THAT(job_.snapshot().status,
              StatusIs(absl::StatusCode::kUnavailable, "stage a: read queue broken by the test"));
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
  std::thread worker([&] { runner_.Run(job_, device_, *stager); });
  failed.WaitForNotification();
  EXPECT_THAT(job_.snapshot().status, StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  EXPECT_EQ(device_.allocation_count(), 1);
  EXPECT_EQ(table_.Usage()[0].staging_bytes, kAllocationBytes);
  answers_->Notify();
  worker.join();
  ExpectNothingLeft();
}

}  // namespace
}  // namespace weightd::testing

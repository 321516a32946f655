// One job's body on files, reads and a device in memory: the faults that real ones do not give.

#include "daemon/residency/stage_run.h"

#include <atomic>
#include <cerrno>

#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/common/fake_clock.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/device/memory_device.h"
#include "tests/support/process/wait_until.h"
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

class StageRunTest : public ::testing::Test {
 protected:
  void SetUp() override { volume_->AddFile("a.safetensors", FileBytes()); }

  static std::string FileBytes() {
    const std::vector<TensorSpec> specs = {
        {.name = "w", .dtype = Dtype::kU8, .shape = {kTensorBytes}}};
    return SafetensorsPrefix(SafetensorsHeaderText(specs, {})) + std::string(kTensorBytes, 'w');
  }

  std::unique_ptr<Stager> MakeStager(const MemoryReadQueueOptions& reads,
                                     const QueueFaults& faults = {}) {
    StagerOptions options;
    options.block_bytes = kBlockBytes;
    options.make_queue =
        [=](const ReadQueueOptions& queue) -> absl::StatusOr<std::unique_ptr<ReadQueue>> {
      return std::make_unique<FaultyReadQueue>(*MemoryReadQueue::Create(queue, reads), faults);
    };
    options.read_queue.stall_timeout = absl::Milliseconds(100);
    return *Stager::Create(options, {&device_}, ThreadExecutor::Get());
  }

  void ExpectNothingLeft() {
    EXPECT_THAT(table_.List(), IsEmpty());
    EXPECT_EQ(table_.Usage()[0].used_bytes, 0);
    EXPECT_EQ(device_.allocation_count(), 0);
    EXPECT_THAT(device_.violations(), IsEmpty());
  }

  void RunStage(Stager& stager) { StageRun(context_, job_).Run(stager); }

  FakeClock clock_;
  EventLog events_{clock_, nullptr};
  std::shared_ptr<MemoryVolume> volume_ = std::make_shared<MemoryVolume>();
  Catalog catalog_{{volume_}, CatalogOptions{.header_threads = 1}};
  std::shared_ptr<MemoryDevice> host_ =
      std::make_shared<MemoryDevice>(MemoryDeviceOptions{.id = "host", .kind = DeviceKind::kHost});
  MemoryDevice& device_ = *host_;
  std::vector<std::shared_ptr<Device>> devices_ = {host_};
  ResidencyTable table_{{.budgets = {{"host", DeviceKind::kHost, uint64_t{64} << 20}}},
                        ThreadExecutor::Get()};
  Evictor evictor_{table_, devices_, events_, clock_};
  ReportLog reports_;
  LastUses last_uses_;
  std::shared_ptr<const KeySource> keys_ = *KeySource::Create({});
  StageContext context_{.catalog = catalog_,
                        .table = table_,
                        .evictor = evictor_,
                        .devices = devices_,
                        .events = events_,
                        .reports = reports_,
                        .clock = clock_,
                        .keys = *keys_,
                        .last_uses = last_uses_,
                        .unhold = [this](CopyId id) { evictor_.Free(table_.Unhold(id)); },
                        .on_superseded = [](const CopyInfo&, GenerationId) {}};
  std::shared_ptr<StageJob> job_ =
      std::make_shared<StageJob>(JobId(1), StageTask{.ref = {.model = "a"}, .devices = {"host"}});
};

TEST_F(StageRunTest, PublishesWhatItRead) {
  auto stager = MakeStager({});
  RunStage(*stager);
  const StageSnapshot snapshot = job_->snapshot();
  ASSERT_OK(snapshot.status);
  ASSERT_THAT(snapshot.contents, SizeIs(1));
  const CopyContent& content = *snapshot.contents[0];
  ASSERT_THAT(table_.List(), SizeIs(1));
  EXPECT_EQ(table_.List()[0].hold_count, 0);
  EXPECT_EQ(content.root, "/memory");
  ASSERT_THAT(reports_.List(), SizeIs(1));
  const StageRecord record = reports_.List().front();
  EXPECT_EQ(record.generation, content.id);
  EXPECT_EQ(record.report.bytes_read(), kTensorBytes);
  EXPECT_EQ(record.report.source, kVolumeSource);
  EXPECT_THAT(content.identities, SizeIs(1));
}

TEST_F(StageRunTest, ReadErrorLeavesNothing) {
  MemoryReadQueueOptions reads;
  reads.faults[3].error = EIO;
  auto stager = MakeStager(reads);
  RunStage(*stager);
  EXPECT_THAT(job_->snapshot().status, AllOf(StatusIs(absl::StatusCode::kDataLoss,
                                                      HasSubstr("stage a: read a.safetensors at")),
                                             ReasonIs(Reason::kReadFailed, _)));
  ExpectNothingLeft();
}

TEST_F(StageRunTest, HeaderThatCannotBeReadLeavesNothing) {
  volume_->FailReads("a.safetensors", EIO);
  auto stager = MakeStager({});
  RunStage(*stager);
  EXPECT_THAT(job_->snapshot().status, ReasonIs(Reason::kReadFailed, _));
  ExpectNothingLeft();
}

TEST_F(StageRunTest, CancelledJobDoesNothing) {
  auto stager = MakeStager({});
  job_->Cancel();
  RunStage(*stager);
  EXPECT_THAT(job_->snapshot().status, ReasonIs(Reason::kCancelled, _));
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

TEST_F(StageRunTest, BrokenQueueLeavesNothing) {
  QueueFaults faults;
  faults.break_after = 1;
  auto stager = MakeStager({}, faults);
  RunStage(*stager);
  EXPECT_THAT(job_->snapshot().status,
              StatusIs(absl::StatusCode::kUnavailable, "stage a: read queue broken by the test"));
  ExpectNothingLeft();
}

// Reads that do not end keep their memory, and its bytes in the budget, until they do; who waits
// for the job, and its worker, go on.
TEST_F(StageRunTest, HangingVolumeKeepsTheMemoryAndNobodyElse) {
  const auto comes_back = std::make_shared<std::atomic<bool>>(false);
  MemoryReadQueueOptions reads;
  reads.faults[2].stalls = true;
  reads.comes_back = comes_back;
  auto stager = MakeStager(reads);
  RunStage(*stager);
  EXPECT_THAT(job_->snapshot().status,
              AllOf(StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("stays booked")),
                    ReasonIs(Reason::kVolumeStuck, HasSubstr("a.safetensors at"))));
  EXPECT_EQ(device_.allocation_count(), 1);
  EXPECT_EQ(table_.Usage()[0].used_bytes, kAllocationBytes);
  EXPECT_EQ(table_.Usage()[0].stuck_bytes, kAllocationBytes);
  ASSERT_THAT(table_.List(), SizeIs(1));
  EXPECT_EQ(table_.List()[0].state, ResidencyState::kFailed);
  EXPECT_TRUE(table_.List()[0].stuck);
  ASSERT_THAT(stager->stuck(), SizeIs(1));
  EXPECT_EQ(stager->stuck()[0].model, "a");
  // Nobody waits for what it keeps.
  StageClaim claim;
  claim.model = "b";
  claim.places = {
      {.device = "host", .bytes = (uint64_t{64} << 20) - kAllocationBytes + kBlockBytes}};
  EXPECT_THAT(table_.Admit(claim).status(),
              ReasonIs(Reason::kBudgetExceeded, HasSubstr("volume that hangs")));
  // It is not begun again, which would take more memory each time.
  const auto again =
      std::make_shared<StageJob>(JobId(3), StageTask{.ref = {.model = "a"}, .devices = {"host"}});
  StageRun(context_, again).Run(*stager);
  EXPECT_THAT(again->snapshot().status,
              AllOf(StatusIs(absl::StatusCode::kUnavailable, HasSubstr("is not read again")),
                    ReasonIs(Reason::kVolumeStuck, HasSubstr("a.safetensors at"))));
  EXPECT_EQ(device_.allocation_count(), 1);
  // Another file is read meanwhile, by the same reader.
  volume_->AddFile("b.safetensors", FileBytes());
  const auto other =
      std::make_shared<StageJob>(JobId(2), StageTask{.ref = {.model = "b"}, .devices = {"host"}});
  StageRun(context_, other).Run(*stager);
  EXPECT_OK(other->snapshot().status);
  *comes_back = true;
  EXPECT_TRUE(WaitUntil([&] { return table_.Usage()[0].stuck_bytes == 0; }));
  EXPECT_THAT(stager->stuck(), IsEmpty());
  EXPECT_EQ(device_.allocation_count(), 1);
}

}  // namespace
}  // namespace weightd::testing

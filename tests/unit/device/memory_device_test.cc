// The double that simulations rely on.

#include "tests/support/device/memory_device.h"

#include <vector>

#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kBytes = uint64_t{2} << 20;
using Completion = MemoryDeviceOptions::Completion;

class MemoryDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(device_.RegisterStaging(absl::MakeSpan(buffer_))); }
  CopyRequest Byte(Allocation& to, uint64_t index) {
    return {&to, index, absl::MakeSpan(buffer_).subspan(index, 1), index};
  }

  std::vector<std::byte> buffer_ = std::vector<std::byte>(64, std::byte{1});
  MemoryDevice device_{MemoryDeviceOptions{.completion = Completion::kOnStep}};
};

TEST_F(MemoryDeviceTest, CopiesEndWhenStepped) {
  const auto allocation = *device_.Allocate(kBytes);
  const auto queue = *device_.CreateCopyQueue();
  ASSERT_OK(queue->Submit(Byte(*allocation, 0)));
  ASSERT_OK(queue->Submit(Byte(*allocation, 1)));
  std::vector<uint64_t> tags;
  const auto note = [&](uint64_t tag) { tags.push_back(tag); };
  ASSERT_OK(queue->Poll(absl::ZeroDuration(), note));
  EXPECT_THAT(tags, IsEmpty());
  buffer_[0] = std::byte{9};  // too early: it shows
  EXPECT_EQ(device_.Step(1), 1);
  ASSERT_OK(queue->Poll(absl::ZeroDuration(), note));
  EXPECT_THAT(tags, ElementsAre(0));
  EXPECT_EQ(device_.Step(5), 1);
  ASSERT_OK(queue->Finish());
  std::byte first{};
  ASSERT_OK(allocation->CopyOut(0, absl::MakeSpan(&first, 1)));
  EXPECT_EQ(first, std::byte{9});
}

TEST_F(MemoryDeviceTest, CountsBytes) {
  auto first = *device_.Allocate(1);
  auto second = *device_.Allocate(kBytes + 1);
  EXPECT_EQ(device_.used_bytes(), 3 * kBytes);
  EXPECT_EQ(device_.allocation_count(), 2);
  first.reset();
  second.reset();
  EXPECT_EQ(device_.used_bytes(), 0);
  EXPECT_EQ(device_.peak_used_bytes(), 3 * kBytes);
}

TEST_F(MemoryDeviceTest, FailsTheNthCall) {
  device_.FailAllocate(2, absl::ResourceExhaustedError("full"));
  const auto allocation = *device_.Allocate(1);
  EXPECT_THAT(device_.Allocate(1), StatusIs(absl::StatusCode::kResourceExhausted, "full"));
  EXPECT_OK(device_.Allocate(1));
  device_.FailCopy(1, absl::InternalError("broken"));
  const auto queue = *device_.CreateCopyQueue();
  ASSERT_OK(queue->Submit(Byte(*allocation, 0)));
  EXPECT_THAT(queue->Finish(), StatusIs(absl::StatusCode::kInternal, "broken"));
  EXPECT_THAT(queue->Submit(Byte(*allocation, 0)), StatusIs(absl::StatusCode::kInternal, "broken"));
  device_.FailSubmit(1, absl::InternalError("refused"));
  const auto next = *device_.CreateCopyQueue();
  EXPECT_THAT(next->Submit(Byte(*allocation, 0)), StatusIs(absl::StatusCode::kInternal, "refused"));
}

TEST_F(MemoryDeviceTest, NoticesFreeUnderAClient) {
  auto allocation = *device_.Allocate(1);
  ASSERT_OK(allocation->Seal());
  const std::string handle = allocation->CreateExport()->cuda_ipc_handle;
  {
    ASSERT_OK_AND_ASSIGN(const MappedExport mapped, device_.Map(handle));
    EXPECT_EQ(mapped.bytes().size(), kBytes);
    allocation.reset();
    EXPECT_THAT(device_.violations(), ElementsAre(HasSubstr("client")));
  }
  EXPECT_THAT(device_.Map(handle), StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(MemoryDeviceTest, NoticesWhatIsTakenAwayUnderACopy) {
  auto allocation = *device_.Allocate(1);
  const auto queue = *device_.CreateCopyQueue();
  ASSERT_OK(queue->Submit(Byte(*allocation, 0)));
  device_.UnregisterStaging(absl::MakeSpan(buffer_));
  EXPECT_THAT(device_.violations(), Contains(HasSubstr("unregistered with copies")));
  allocation.reset();
  EXPECT_THAT(device_.violations(), Contains(HasSubstr("freed with copies")));
}

TEST_F(MemoryDeviceTest, NoticesCopiesFromUnregisteredMemory) {
  const auto allocation = *device_.Allocate(1);
  const auto queue = *device_.CreateCopyQueue();
  const std::vector<std::byte> other(8);
  EXPECT_THAT(queue->Submit({allocation.get(), 0, other, 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(device_.violations(), ElementsAre(HasSubstr("not registered")));
}

}  // namespace
}  // namespace weightd::testing

#include "client/cpp/tensor_table.h"

#include <functional>
#include <limits>
#include <ostream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/client/fake_grant.h"

namespace weightd::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using weightd::testing::StatusIs;

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

// One change to the tensor `a` (F32, 2x3, 24 bytes at 0 of 64), and what the refusal says.
struct BadTensor {
  const char* name;
  std::function<void(v1::Tensor&)> break_it;
  const char* message;
};
std::ostream& operator<<(std::ostream& out, const BadTensor& bad) { return out << bad.name; }

class BadTensorTest : public ::testing::TestWithParam<BadTensor> {};

TEST_P(BadTensorTest, IsRefused) {
  weightd::testing::Grant grant = weightd::testing::SmallGrant();
  GetParam().break_it(*grant.batch.mutable_tensors(0));
  TensorTable table(grant.granted);
  EXPECT_THAT(table.Add(grant.batch),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr("tensor "), HasSubstr(GetParam().message))));
}

void SetShape(v1::Tensor& tensor, std::vector<uint64_t> shape) {
  tensor.mutable_shape()->Assign(shape.begin(), shape.end());
}

INSTANTIATE_TEST_SUITE_P(
    All, BadTensorTest,
    ::testing::Values(
        BadTensor{"NoDtype", [](v1::Tensor& bad) { bad.clear_dtype(); }, "dtype 0 is unknown"},
        BadTensor{"DtypeOfTheFuture",
                  [](v1::Tensor& bad) { bad.set_dtype(static_cast<v1::DType>(99)); },
                  "dtype 99 is unknown"},
        BadTensor{"BytesBelowTheShape", [](v1::Tensor& bad) { bad.set_bytes(20); }, "do not fit"},
        BadTensor{"BytesAboveTheShape", [](v1::Tensor& bad) { bad.set_bytes(28); }, "do not fit"},
        BadTensor{"ShapeOverflows",
                  [](v1::Tensor& bad) {
                    SetShape(bad, {uint64_t{1} << 33, uint64_t{1} << 33});
                  },
                  "do not fit"},
        BadTensor{"AllocationOutOfRange", [](v1::Tensor& bad) { bad.set_allocation_index(1); },
                  "allocation 1 of 1"},
        BadTensor{"AllocationIndexOfMinusOne",
                  [](v1::Tensor& bad) { bad.set_allocation_index(~uint32_t{0}); }, "of 1"},
        BadTensor{"EndsPastTheAllocation", [](v1::Tensor& bad) { bad.set_offset(44); },
                  "24 bytes at 44 end past its allocation of 64"},
        BadTensor{"StartsPastTheAllocation", [](v1::Tensor& bad) { bad.set_offset(68); },
                  "end past"},
        BadTensor{"EndOverflows", [](v1::Tensor& bad) { bad.set_offset(kMax - 3); }, "end past"},
        BadTensor{"OffsetIsMisaligned", [](v1::Tensor& bad) { bad.set_offset(2); },
                  "offset 2 is not aligned"},
        BadTensor{"DimensionAboveInt64",
                  [](v1::Tensor& bad) {
                    SetShape(bad, {0, uint64_t{1} << 63});
                    bad.set_bytes(0);
                  },
                  "is too large"},
        BadTensor{"NameComesTwice", [](v1::Tensor& bad) { bad.set_name("b"); }, "came twice"}),
    [](const auto& test) { return test.param.name; });

TEST(TensorTableTest, ATensorMayEndWhereItsAllocationEnds) {
  weightd::testing::Grant grant = weightd::testing::SmallGrant();
  grant.batch.mutable_tensors(0)->set_offset(40);
  grant.batch.mutable_tensors(3)->set_offset(64);
  TensorTable table(grant.granted);
  EXPECT_OK(table.Add(grant.batch));
  EXPECT_OK(table.CheckComplete());
}

TEST(TensorTableTest, NamesInAnErrorAreSafeForATerminal) {
  weightd::testing::Grant grant = weightd::testing::SmallGrant();
  grant.batch.mutable_tensors(0)->set_name("\x1b[31m");
  grant.batch.mutable_tensors(0)->set_bytes(1);
  TensorTable table(grant.granted);
  EXPECT_THAT(table.Add(grant.batch),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("tensor \\x1b[31m: ")));
}

}  // namespace
}  // namespace weightd::client

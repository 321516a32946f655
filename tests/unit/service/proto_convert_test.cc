#include "daemon/service/proto_convert.h"

#include "common/errors.h"
#include "daemon/service/grpc_status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"

namespace weightd {
namespace {

TEST(ProtoConvertTest, DtypesHaveOneNumberAndNameEverywhere) {
  ASSERT_EQ(v1::DType_descriptor()->value_count(), kDtypeCount + 1);
  for (int value = 1; value <= kDtypeCount; ++value) {
    const auto dtype = DtypeFromValue(value);
    ASSERT_TRUE(dtype.has_value());
    EXPECT_EQ(v1::DType_Name(static_cast<v1::DType>(value)), std::string(DtypeName(*dtype)));
  }
}

TEST(ProtoConvertTest, TimesKeepNanoseconds) {
  google::protobuf::Timestamp timestamp;
  ToProto(absl::FromUnixSeconds(5) + absl::Nanoseconds(7), timestamp);
  EXPECT_EQ(timestamp.seconds(), 5);
  EXPECT_EQ(timestamp.nanos(), 7);
}

TEST(ProtoConvertTest, StagingGenerationHasNoTimes) {
  CopyInfo info;
  info.id = GenerationId(3);
  info.state = ResidencyState::kStaging;
  info.allocated_bytes = 10;
  v1::Generation generation;
  ToProto(info, generation);
  EXPECT_EQ(generation.state(), v1::STAGING);
  EXPECT_EQ(generation.allocated_bytes(), 10u);
  EXPECT_FALSE(generation.has_resident_time());
  EXPECT_FALSE(generation.has_last_use_time());
}

TEST(GrpcStatusTest, CarriesReasonAndMetadata) {
  const grpc::Status status = ToGrpcStatus(ErrorWithReason(
      absl::StatusCode::kResourceExhausted, Reason::kBudgetExceeded, "too big", {{"needed", "5"}}));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "too big");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED));
  google::rpc::ErrorInfo info;
  ASSERT_EQ(details.details_size(), 1);
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "BUDGET_EXCEEDED");
  EXPECT_EQ(info.domain(), "weightd");
  EXPECT_EQ(info.metadata().at("needed"), "5");
}

TEST(GrpcStatusTest, WithoutAReasonThereAreNoDetails) {
  const grpc::Status status = ToGrpcStatus(absl::InternalError("oops"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_TRUE(status.error_details().empty());
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
}

}  // namespace
}  // namespace weightd

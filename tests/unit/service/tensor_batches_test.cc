#include "daemon/service/tensor_batches.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weightd/v1/weight_cache.grpc.pb.h"

namespace weightd {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

std::shared_ptr<CopyContent> ContentOf(uint64_t copy, size_t tensors, size_t name_bytes = 40) {
  auto manifest = std::make_shared<Manifest>();
  auto layout = std::make_shared<Layout>();
  for (size_t i = 0; i < tensors; ++i) {
    TensorEntry tensor;
    tensor.name = absl::StrCat(i, ".", std::string(name_bytes, 'n'));
    tensor.shape = {2, 3};
    tensor.bytes = 24;
    manifest->tensors.push_back(std::move(tensor));
    layout->tensor_offsets.push_back(i * 256);
  }
  auto content = std::make_shared<CopyContent>();
  content->copy = CopyId(copy);
  content->manifest = std::move(manifest);
  content->layout = std::move(layout);
  return content;
}

v1::AttachResponse Parse(const grpc::ByteBuffer& bytes) {
  v1::AttachResponse response;
  grpc::ByteBuffer copy = bytes;
  EXPECT_TRUE(grpc::SerializationTraits<v1::AttachResponse>::Deserialize(&copy, &response).ok());
  return response;
}

// The names of all, and each message below 1 MiB.
std::vector<std::string> NamesOf(TensorBatches& batches, const CopyContent& content) {
  std::vector<std::string> names;
  TensorBatches::Place place;
  while (const auto bytes = batches.Next(content, place)) {
    EXPECT_LT(bytes->Length(), kMiB);
    const v1::AttachResponse response = Parse(*bytes);
    for (const v1::Tensor& tensor : response.tensors().tensors()) {
      EXPECT_EQ(tensor.offset(), names.size() * 256);
      names.push_back(tensor.name());
    }
  }
  return names;
}

const uint8_t* FirstByte(TensorBatches& batches, const CopyContent& content) {
  TensorBatches::Place place;
  const auto bytes = batches.Next(content, place);
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(bytes->Dump(&slices).ok());
  return slices.front().begin();
}

TEST(TensorBatchesTest, TellAllTensorsInOrderToEveryStream) {
  const auto content = ContentOf(1, 20'000);
  TensorBatchCache cache(64 * kMiB);
  const auto batches = cache.Of(content);
  const std::vector<std::string> names = NamesOf(*batches, *content);
  ASSERT_EQ(names.size(), 20'000);
  EXPECT_EQ(names[19'999], content->manifest->tensors[19'999].name);
  EXPECT_EQ(NamesOf(*batches, *content), names);
}

TEST(TensorBatchesTest, BytesAreMadeOnce) {
  const auto content = ContentOf(1, 100);
  TensorBatchCache cache(kMiB);
  EXPECT_EQ(FirstByte(*cache.Of(content), *content), FirstByte(*cache.Of(content), *content));
  EXPECT_GT(cache.kept_bytes(), 0);
}

TEST(TensorBatchesTest, KeepNoMoreThanTheyMay) {
  const auto content = ContentOf(1, 20'000);
  TensorBatchCache cache(kMiB);
  EXPECT_EQ(NamesOf(*cache.Of(content), *content).size(), 20'000);
  EXPECT_EQ(NamesOf(*cache.Of(content), *content).size(), 20'000);
  EXPECT_GT(cache.kept_bytes(), 0);
  EXPECT_LE(cache.kept_bytes(), kMiB);
  TensorBatchCache none(0);
  EXPECT_EQ(NamesOf(*none.Of(content), *content).size(), 20'000);
  EXPECT_EQ(none.kept_bytes(), 0);
}

TEST(TensorBatchesTest, ALongNameIsABatchOfItsOwn) {
  const auto content = ContentOf(1, 30, 65'000);
  TensorBatchCache cache(64 * kMiB);
  EXPECT_EQ(NamesOf(*cache.Of(content), *content).size(), 30);
}

TEST(TensorBatchesTest, AModelWithoutTensorsHasNoBatch) {
  const auto content = ContentOf(1, 0);
  TensorBatchCache cache(kMiB);
  TensorBatches::Place place;
  EXPECT_FALSE(cache.Of(content)->Next(*content, place).has_value());
}

TEST(TensorBatchesTest, WhatIsEvictedIsForgotten) {
  TensorBatchCache cache(64 * kMiB);
  auto gone = ContentOf(1, 1000);
  NamesOf(*cache.Of(gone), *gone);
  gone.reset();
  const auto next = ContentOf(2, 0);
  (void)cache.Of(next);
  EXPECT_EQ(cache.kept_bytes(), 0);
}

TEST(TensorBatchesTest, TheOldestMakeRoom) {
  TensorBatchCache cache(2 * kMiB);
  std::vector<std::shared_ptr<CopyContent>> contents;
  for (uint64_t copy = 1; copy <= 10; ++copy) {
    contents.push_back(ContentOf(copy, 5'000));
    EXPECT_EQ(NamesOf(*cache.Of(contents.back()), *contents.back()).size(), 5'000);
    EXPECT_LE(cache.kept_bytes(), 2 * kMiB);
  }
  EXPECT_GT(cache.kept_bytes(), 0);
  EXPECT_EQ(FirstByte(*cache.Of(contents[9]), *contents[9]),
            FirstByte(*cache.Of(contents[9]), *contents[9]));
}

}  // namespace
}  // namespace weightd

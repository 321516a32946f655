#include "daemon/service/pages.h"

#include <map>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/service/metadata_pieces.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::HasSubstr;
using testing::ReasonIs;

constexpr size_t kMiB = size_t{1} << 20;

// As wide as a row can be.
v1::ListLeasesResponse Leases(uint64_t count) {
  v1::ListLeasesResponse response;
  for (uint64_t id = 1; id <= count; ++id) {
    v1::Lease& lease = *response.add_leases();
    lease.set_id(id * 3);
    lease.set_model(std::string(512, 'm'));
    lease.set_device("GPU-01234567-89ab-cdef-0123-456789abcdef");
    lease.set_client_name(std::string(64, 'c'));
  }
  return response;
}

TEST(PagesTest, SixteenThousandLeasesComeInMessagesBelowOneMiB) {
  const v1::ListLeasesResponse all = Leases(16384);
  v1::ListLeasesRequest request;
  std::set<uint64_t> ids;
  int pages = 0;
  do {
    v1::ListLeasesResponse page = all;
    ASSERT_OK(CutPage(request, page));
    ASSERT_LT(page.ByteSizeLong(), kMiB);
    for (const v1::Lease& lease : page.leases()) EXPECT_TRUE(ids.insert(lease.id()).second);
    request.set_page_token(page.next_page_token());
    ASSERT_LE(++pages, 20);
  } while (!request.page_token().empty());
  EXPECT_EQ(ids.size(), 16384);
  EXPECT_GT(pages, 10);
}

TEST(PagesTest, AHundredThousandModelsLikewise) {
  v1::ListModelsResponse all;
  for (int i = 0; i < 100'000; ++i) {
    v1::Model& model = *all.add_models();
    model.set_name(absl::StrFormat("organisation/model-with-a-longer-name-%06d", i));
    model.set_root("/models");
    model.set_shard_count(4);
  }
  v1::ListModelsRequest request;
  std::string last;
  int count = 0;
  do {
    v1::ListModelsResponse page = all;
    ASSERT_OK(CutPage(request, page));
    ASSERT_LT(page.ByteSizeLong(), kMiB);
    for (const v1::Model& model : page.models()) {
      EXPECT_LT(last, model.name());
      last = model.name();
      ++count;
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(count, 100'000);
}

TEST(PagesTest, PagesFollowNamesWhateverComesAndGoes) {
  v1::ListModelsResponse first;
  for (const char* name : {"a", "b", "c"}) first.add_models()->set_name(name);
  v1::ListModelsRequest request;
  request.set_page_size(2);
  ASSERT_OK(CutPage(request, first));
  ASSERT_EQ(first.models_size(), 2);
  request.set_page_token(first.next_page_token());
  v1::ListModelsResponse second;  // `b` is gone, `bb` is new
  for (const char* name : {"a", "bb", "c"}) second.add_models()->set_name(name);
  ASSERT_OK(CutPage(request, second));
  ASSERT_EQ(second.models_size(), 2);
  EXPECT_EQ(second.models(0).name(), "bb");
  EXPECT_EQ(second.models(1).name(), "c");
  EXPECT_EQ(second.next_page_token(), "");
}

TEST(PagesTest, RefusesTokensOfOthers) {
  v1::ListModelsRequest models;
  models.set_page_token("model");
  v1::ListModelsResponse none;
  EXPECT_THAT(CutPage(models, none), ReasonIs(Reason::kInvalidRequest, HasSubstr("page_token")));
  v1::ListLeasesRequest leases;
  leases.set_page_token("x");
  v1::ListLeasesResponse no_leases;
  EXPECT_THAT(CutPage(leases, no_leases), ReasonIs(Reason::kInvalidRequest, HasSubstr("token")));
}

TEST(PagesTest, OneItemPassesHoweverLargeItIs) {
  v1::WatchModelsResponse list;
  for (int i = 0; i < 3; ++i) list.add_models()->set_problem(std::string(kMiB, 'x'));
  const auto parts = Split(std::move(list));
  ASSERT_EQ(parts.size(), 3);
  EXPECT_TRUE(parts[0].more());
  EXPECT_TRUE(parts[1].more());
  EXPECT_FALSE(parts[2].more());
}

TEST(PagesTest, AnEmptyListIsOneMessage) {
  const auto parts = Split({});
  ASSERT_EQ(parts.size(), 1);
  EXPECT_FALSE(parts[0].more());
}

TEST(PagesTest, TensorsWithLongNamesAreFewerThanAsked) {
  v1::GetModelResponse response;
  for (int i = 0; i < 100; ++i) response.add_tensors()->set_name(std::string(65'535, 'n'));
  response.set_next_page_token("200");
  CutTensors(100, response);
  EXPECT_LT(response.ByteSizeLong(), kMiB);
  EXPECT_EQ(response.next_page_token(), absl::StrCat(100 + response.tensors_size()));
}

TEST(PagesTest, ManyDamagedTensorsAreCounted) {
  v1::VerifyModelResponse response;
  for (int copy = 0; copy < 2; ++copy) {
    v1::VerifiedCopy& to = *response.add_copies();
    for (int i = 0; i < 100'000; ++i) to.add_damaged_tensors(absl::StrCat("layers.", i, ".w"));
  }
  CutDamagedTensors(response);
  EXPECT_LT(response.ByteSizeLong(), kMiB);
  EXPECT_EQ(response.copies(0).damaged_tensor_count(), 100'000);
  EXPECT_EQ(response.copies(1).damaged_tensor_count(), 100'000);
  EXPECT_EQ(response.copies(0).damaged_tensors(0), "layers.0.w");
}

Metadata Join(MetadataPieces pieces) {
  Metadata joined;
  std::string key;
  std::string value;
  bool continues = false;
  while (const auto batch = pieces.Next()) {
    EXPECT_LT(batch->ByteSizeLong(), kMiB);
    for (const v1::MetadataPiece& piece : batch->pieces()) {
      key += piece.key();
      value += piece.value();
      continues = piece.continues();
      if (continues) continue;
      joined[key] = value;
      key.clear();
      value.clear();
    }
  }
  EXPECT_FALSE(continues);
  return joined;
}

TEST(MetadataPiecesTest, CutKeysAndValuesOfAnySize) {
  Metadata metadata = {{"", ""},
                       {"format", "pt"},
                       {"large", std::string(5 * kMiB, 'v')},
                       {std::string(2 * kMiB, 'k'), "of a large key"},
                       {"z", std::string(kMiB * 3 / 4, 'z')}};
  for (int i = 0; i < 50'000; ++i) metadata[absl::StrCat("key-", i)] = "value";
  EXPECT_FALSE(FitsIntoGrant(metadata));
  EXPECT_EQ(Join(MetadataPieces(metadata)), metadata);
}

TEST(MetadataPiecesTest, OfNoneThereAreNone) {
  const Metadata metadata;
  EXPECT_TRUE(FitsIntoGrant(metadata));
  EXPECT_FALSE(MetadataPieces(metadata).Next().has_value());
}

TEST(MetadataPiecesTest, AListShowsWhatFitsAndSaysHowMuchDoesNot) {
  const Metadata metadata = {{"a", "1"}, {"b", std::string(5 * kMiB, 'v')}, {"c", "3"}};
  v1::GetModelResponse response;
  FillMetadata(metadata, response);
  EXPECT_EQ(response.metadata_size(), 2);
  EXPECT_EQ(response.metadata().at("c"), "3");
  EXPECT_EQ(response.metadata_left_out(), 1);
}

}  // namespace
}  // namespace weightd

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/cli/verbs_fixture.h"

// Verbs whose answer comes in pages, against a service that sends pages without end.

namespace weightd::cli {
namespace {

using ::testing::HasSubstr;

// Each page has a row and names another one.
template <typename Response>
void NameNext(const std::string& token, Response* answer) {
  answer->set_next_page_token(absl::StrCat(token, "x"));
}

class EndlessPagesTest : public VerbsTest {
 protected:
  EndlessPagesTest() {
    service_.get_status = [](const v1::GetStatusRequest&, v1::GetStatusResponse*) {
      return grpc::Status::OK;
    };
    service_.list_models = [](const v1::ListModelsRequest& request,
                              v1::ListModelsResponse* answer) {
      *answer->add_models() = SmallModel();
      NameNext(request.page_token(), answer);
      return grpc::Status::OK;
    };
    service_.list_leases = [](const v1::ListLeasesRequest& request,
                              v1::ListLeasesResponse* answer) {
      answer->add_leases();
      NameNext(request.page_token(), answer);
      return grpc::Status::OK;
    };
    service_.get_model = [](const v1::GetModelRequest& request, v1::GetModelResponse* answer) {
      answer->add_tensors();
      NameNext(request.page_token(), answer);
      return grpc::Status::OK;
    };
  }

  void ExpectEndsInTime(std::vector<const char*> arguments) const {
    arguments.insert(arguments.end(), {"--timeout", "200ms"});
    const absl::Time begin = absl::Now();
    const Outcome outcome = Run(arguments);
    EXPECT_LT(absl::Now() - begin, absl::Seconds(10)) << arguments[0];
    EXPECT_EQ(outcome.code, 4) << arguments[0];
    EXPECT_THAT(outcome.err, HasSubstr("the answer did not end in time: ")) << arguments[0];
    EXPECT_THAT(outcome.err, HasSubstr("--timeout gives it longer")) << arguments[0];
  }
};

TEST_F(EndlessPagesTest, TheTimeoutIsOfTheWholeCommand) {
  ExpectEndsInTime({"ls"});
  ExpectEndsInTime({"ps"});
  ExpectEndsInTime({"leases"});
  ExpectEndsInTime({"tensors", "m"});
  ExpectEndsInTime({"top", "--once"});
}

TEST_F(VerbsTest, APageThatLeadsNowhereEndsTheList) {
  service_.list_models = [](const v1::ListModelsRequest& request, v1::ListModelsResponse* answer) {
    NameNext(request.page_token(), answer);
    return grpc::Status::OK;
  };
  const Outcome outcome = Run({"ls"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("page 1 has 0 rows and says that there are more"));
}

}  // namespace
}  // namespace weightd::cli

#include "daemon/service/reflection_service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd {
namespace {

using google::protobuf::FileDescriptorProto;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;
using ::testing::HasSubstr;

ServerReflectionResponse Ask(const ServerReflectionRequest& request) {
  return Reflect(request, {"weightd.v1.WeightCache"});
}

// What a tool does that knows nothing else.
TEST(ReflectionServiceTest, FilesBuildAPoolThatKnowsTheService) {
  ServerReflectionRequest request;
  request.set_host("here");
  request.set_list_services("");
  const ServerReflectionResponse services = Ask(request);
  ASSERT_EQ(services.list_services_response().service_size(), 1);
  EXPECT_EQ(services.valid_host(), "here");
  EXPECT_TRUE(services.original_request().has_list_services());
  request.set_file_containing_symbol(services.list_services_response().service(0).name());
  const ServerReflectionResponse files = Ask(request);
  google::protobuf::SimpleDescriptorDatabase database;
  for (const std::string& bytes : files.file_descriptor_response().file_descriptor_proto()) {
    FileDescriptorProto file;
    ASSERT_TRUE(file.ParseFromString(bytes));
    EXPECT_TRUE(database.Add(file)) << file.name() << " came twice";
  }
  google::protobuf::DescriptorPool pool(&database);
  const auto* service = pool.FindServiceByName("weightd.v1.WeightCache");
  ASSERT_NE(service, nullptr);
  EXPECT_NE(service->FindMethodByName("Attach"), nullptr);
}

TEST(ReflectionServiceTest, FindsFilesMethodsAndExtensions) {
  ServerReflectionRequest request;
  request.set_file_by_filename("weightd/v1/weight_cache.proto");
  EXPECT_GT(Ask(request).file_descriptor_response().file_descriptor_proto_size(), 0);
  request.set_file_containing_symbol("weightd.v1.WeightCache.ListModels");
  EXPECT_GT(Ask(request).file_descriptor_response().file_descriptor_proto_size(), 0);
  request.set_all_extension_numbers_of_type("weightd.v1.ListModelsRequest");
  const ServerReflectionResponse extensions = Ask(request);
  EXPECT_EQ(extensions.all_extension_numbers_response().base_type_name(),
            "weightd.v1.ListModelsRequest");
}

TEST(ReflectionServiceTest, WhatIsNotThereIsAnAnswer) {
  const auto expect_error = [](const ServerReflectionRequest& request, grpc::StatusCode code,
                               const std::string& text) {
    const ServerReflectionResponse response = Ask(request);
    EXPECT_EQ(response.error_response().error_code(), code) << response.ShortDebugString();
    EXPECT_THAT(response.error_response().error_message(), HasSubstr(text));
  };
  ServerReflectionRequest request;
  expect_error(request, grpc::StatusCode::INVALID_ARGUMENT, "nothing that is known");
  request.set_file_by_filename("no.proto");
  expect_error(request, grpc::StatusCode::NOT_FOUND, "file no.proto");
  request.set_file_containing_symbol("no.Such");
  expect_error(request, grpc::StatusCode::NOT_FOUND, "symbol no.Such");
  request.set_all_extension_numbers_of_type("no.Type");
  expect_error(request, grpc::StatusCode::NOT_FOUND, "message no.Type");
  auto& extension = *request.mutable_file_containing_extension();
  extension.set_containing_type("no.Type");
  expect_error(request, grpc::StatusCode::NOT_FOUND, "message no.Type");
  extension.set_containing_type("weightd.v1.ListModelsRequest");
  extension.set_extension_number(1000);
  expect_error(request, grpc::StatusCode::NOT_FOUND, "extension 1000 of weightd.v1.ListModels");
}

// A pool takes time for each part of a name, in the square of its length.
TEST(ReflectionServiceTest, NamesHaveALimit) {
  const std::string most(512, '.');
  const std::string more = most + '.';
  using Set = void (*)(const std::string& name, ServerReflectionRequest& request);
  const std::vector<Set> setters = {
      [](const std::string& name, auto& request) { request.set_file_by_filename(name); },
      [](const std::string& name, auto& request) { request.set_file_containing_symbol(name); },
      [](const std::string& name, auto& request) {
        request.mutable_file_containing_extension()->set_containing_type(name);
      },
      [](const std::string& name, auto& request) {
        request.set_all_extension_numbers_of_type(name);
      }};
  for (const Set& set : setters) {
    ServerReflectionRequest request;
    set(most, request);
    EXPECT_EQ(Ask(request).error_response().error_code(), grpc::StatusCode::NOT_FOUND);
    set(more, request);
    EXPECT_EQ(Ask(request).error_response().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
}

}  // namespace
}  // namespace weightd

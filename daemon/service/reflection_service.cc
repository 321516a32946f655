#include "daemon/service/reflection_service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <set>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "daemon/service/grpc_status.h"

namespace weightd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;

void AddWithImports(const FileDescriptor& file, std::set<std::string>& added,
                    grpc::reflection::v1alpha::FileDescriptorResponse& response) {
  if (!added.insert(std::string(file.name())).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  *response.add_file_descriptor_proto() = proto.SerializeAsString();
  for (int i = 0; i < file.dependency_count(); ++i) {
    AddWithImports(*file.dependency(i), added, response);
  }
}

// Of files and symbols. A pool looks up each part of a name that begins it: 60 KB of dots took it a
// second of CPU, on a thread that everybody needs.
constexpr size_t kNameBytesMax = 512;

absl::Status CheckName(absl::string_view name) {
  if (name.size() <= kNameBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a name of ", name.size(), " bytes, wanted at most ", kNameBytesMax));
}

absl::Status CheckNames(const ServerReflectionRequest& request) {
  absl::Status names = CheckName(request.file_by_filename());
  names.Update(CheckName(request.file_containing_symbol()));
  names.Update(CheckName(request.file_containing_extension().containing_type()));
  names.Update(CheckName(request.all_extension_numbers_of_type()));
  return names;
}

absl::Status NotFound(absl::string_view what, absl::string_view name) {
  return absl::NotFoundError(absl::StrCat(what, " ", name, " is not known here"));
}

absl::StatusOr<const FileDescriptor*> FindFile(const ServerReflectionRequest& request) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  const FileDescriptor* file = nullptr;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      file = pool.FindFileByName(request.file_by_filename());
      if (file == nullptr) return NotFound("file", request.file_by_filename());
      return file;
    case ServerReflectionRequest::kFileContainingSymbol:
      file = pool.FindFileContainingSymbol(request.file_containing_symbol());
      if (file == nullptr) return NotFound("symbol", request.file_containing_symbol());
      return file;
    default:
      break;
  }
  const auto& wanted = request.file_containing_extension();
  const Descriptor* type = pool.FindMessageTypeByName(wanted.containing_type());
  if (type == nullptr) return NotFound("message", wanted.containing_type());
  const FieldDescriptor* extension = pool.FindExtensionByNumber(type, wanted.extension_number());
  if (extension == nullptr) {
    return NotFound("extension",
                    absl::StrCat(wanted.extension_number(), " of ", type->full_name()));
  }
  return extension->file();
}

absl::Status FillExtensions(const std::string& type_name, ServerReflectionResponse& response) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  const Descriptor* type = pool.FindMessageTypeByName(type_name);
  if (type == nullptr) return NotFound("message", type_name);
  auto& numbers = *response.mutable_all_extension_numbers_response();
  numbers.set_base_type_name(type_name);
  std::vector<const FieldDescriptor*> extensions;
  pool.FindAllExtensions(type, &extensions);
  for (const FieldDescriptor* extension : extensions) {
    numbers.add_extension_number(extension->number());
  }
  return absl::OkStatus();
}

absl::Status FillFile(const ServerReflectionRequest& request, ServerReflectionResponse& response) {
  ASSIGN_OR_RETURN(const FileDescriptor* file, FindFile(request));
  std::set<std::string> added;
  AddWithImports(*file, added, *response.mutable_file_descriptor_response());
  return absl::OkStatus();
}

absl::Status Fill(const ServerReflectionRequest& request, const std::vector<std::string>& services,
                  ServerReflectionResponse& response) {
  RETURN_IF_ERROR(CheckNames(request));
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kListServices:
      for (const std::string& service : services) {
        response.mutable_list_services_response()->add_service()->set_name(service);
      }
      return absl::OkStatus();
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      return FillExtensions(request.all_extension_numbers_of_type(), response);
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      return absl::InvalidArgumentError("the request asks for nothing that is known here");
    default:
      return FillFile(request, response);
  }
}

// Reads a request, answers it, and reads the next: one operation at a time, so that who decides on
// the next is alone.
class ReflectionStream final
    : public grpc::ServerBidiReactor<ServerReflectionRequest, ServerReflectionResponse> {
 public:
  ReflectionStream(absl::StatusOr<Caller> caller, const std::vector<std::string>& services)
      : services_(services) {
    if (caller.ok()) {
      caller_ = *std::move(caller);
      StartRead(&request_);
    } else {
      Finish(ToGrpcStatus(caller.status()));
    }
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    response_ = Reflect(request_, services_);
    const absl::Status fits = caller_.queued_bytes.Grow(response_.ByteSizeLong());
    if (!fits.ok()) return Finish(ToGrpcStatus(fits));
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    caller_.queued_bytes.Release();
    if (!ok) return Finish(grpc::Status::OK);
    StartRead(&request_);
  }
  void OnDone() override { delete this; }

  const std::vector<std::string>& services_;
  Caller caller_;
  ServerReflectionRequest request_;
  ServerReflectionResponse response_;
};

}  // namespace

ServerReflectionResponse Reflect(const ServerReflectionRequest& request,
                                 const std::vector<std::string>& services) {
  ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  const absl::Status status = Fill(request, services, response);
  if (!status.ok()) {
    response.mutable_error_response()->set_error_code(static_cast<int>(status.code()));
    response.mutable_error_response()->set_error_message(std::string(status.message()));
  }
  return response;
}

grpc::ServerBidiReactor<ServerReflectionRequest, ServerReflectionResponse>*
ReflectionService::ServerReflectionInfo(grpc::CallbackServerContext* context) {
  return new ReflectionStream(gate_.Admit(*context, Right::kAttach), services_);
}

}  // namespace weightd

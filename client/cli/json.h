#ifndef WEIGHTD_CLIENT_CLI_JSON_H_
#define WEIGHTD_CLIENT_CLI_JSON_H_

#include <google/protobuf/message.h>

#include <nlohmann/json.hpp>
#include <string>

namespace weightd::cli {

// A message of the API as JSON: fields by their proto names and in their order, integers of all
// sizes as integers, enums by name, Timestamp as RFC 3339, Duration as "1.5s", maps as objects.
// Fields without presence are always there; unset messages and unset members of a oneof are not.
// `bytes` fields are left out: in this API they are handles and grant access. Thread-safe.
nlohmann::ordered_json ToJson(const google::protobuf::Message& message);

// One document for people and programs, indented; one line for streams.
std::string JsonDocument(const nlohmann::ordered_json& value);
std::string JsonLine(const nlohmann::ordered_json& value);

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_JSON_H_

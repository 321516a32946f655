#include "daemon/service/http_answer.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace weightd {
namespace {

constexpr absl::string_view kPath = "/metrics";
// An empty line: lines may end without the carriage return.
constexpr absl::string_view kHeadEnd = "\n\r\n";
constexpr absl::string_view kShortHeadEnd = "\n\n";

absl::string_view StatusText(int status) {
  switch (status) {
    case kHttpOk:
      return "OK";
    case kHttpNotFound:
      return "Not Found";
    case kHttpMethodNotAllowed:
      return "Method Not Allowed";
    case kHttpHeadTooLarge:
      return "Request Header Fields Too Large";
    default:
      return "Bad Request";
  }
}

// The path of a target, which may be a whole URL; empty for one that is neither.
absl::string_view PathOf(absl::string_view target) {
  if (absl::StartsWithIgnoreCase(target, "http://")) {
    const size_t slash = target.find('/', absl::string_view("http://").size());
    target = slash == absl::string_view::npos ? "/" : target.substr(slash);
  }
  if (!absl::StartsWith(target, "/")) return "";
  return target.substr(0, target.find('?'));
}

}  // namespace

bool HasWholeHttpHead(absl::string_view bytes, size_t searched) {
  const size_t from = searched < kHeadEnd.size() ? 0 : searched - kHeadEnd.size() + 1;
  return bytes.find(kHeadEnd, from) != absl::string_view::npos ||
         bytes.find(kShortHeadEnd, from) != absl::string_view::npos;
}

HttpRequest ParseHttpRequest(absl::string_view head) {
  const absl::string_view line = absl::StripSuffix(head.substr(0, head.find('\n')), "\r");
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  HttpRequest request;
  if (words.size() != 3 || words[0].empty()) return request;
  if (words[2] != "HTTP/1.1" && words[2] != "HTTP/1.0") return request;
  const absl::string_view path = PathOf(words[1]);
  request.wants_body = words[0] != "HEAD";
  if (path.empty()) return request;
  if (path != kPath) {
    request.status = kHttpNotFound;
  } else if (words[0] != "GET" && words[0] != "HEAD") {
    request.status = kHttpMethodNotAllowed;
  } else {
    request.status = kHttpOk;
  }
  return request;
}

std::string HttpAnswerHead(int status, size_t body_bytes) {
  return absl::StrCat("HTTP/1.1 ", status, " ", StatusText(status), "\r\n",
                      status == kHttpMethodNotAllowed ? "Allow: GET, HEAD\r\n" : "",
                      "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n",
                      "Content-Length: ", body_bytes, "\r\nConnection: close\r\n\r\n");
}

std::string HttpErrorBody(int status) {
  return absl::StrCat(status, " ", StatusText(status), ": GET ", kPath, " is what is here\n");
}

}  // namespace weightd

#ifndef WEIGHTD_DAEMON_SERVICE_HTTP_ANSWER_H_
#define WEIGHTD_DAEMON_SERVICE_HTTP_ANSWER_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

// The little of HTTP/1.1 (RFC 9112) that the metrics need. Thread-safe.

namespace weightd {

inline constexpr int kHttpOk = 200;
inline constexpr int kHttpBadRequest = 400;
inline constexpr int kHttpNotFound = 404;
inline constexpr int kHttpMethodNotAllowed = 405;
inline constexpr int kHttpHeadTooLarge = 431;

// Whether the empty line that ends a request's head is in `bytes`. It does not begin before
// `searched`, which is how many bytes there were at the call before.
bool HasWholeHttpHead(absl::string_view bytes, size_t searched);

struct HttpRequest {
  int status = kHttpBadRequest;  // kHttpOk: it asks for /metrics; else the answer
  bool wants_body = true;        // no HEAD
};
// Of a whole head; what follows it is ignored.
HttpRequest ParseHttpRequest(absl::string_view head);

// What comes before the body, of the last answer on a connection. `status` is one of the above.
std::string HttpAnswerHead(int status, size_t body_bytes);
// For people who get no metrics.
std::string HttpErrorBody(int status);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_HTTP_ANSWER_H_

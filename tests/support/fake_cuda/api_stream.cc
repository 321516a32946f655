// Streams and events.

#include "tests/support/fake_cuda/driver.h"
#include "tests/support/fake_cuda/text.h"

using fake_cuda::Driver;
using fake_cuda::Event;
using fake_cuda::Needs;
using fake_cuda::Stream;

namespace {

// Waits without the driver's lock, so that other threads go on; then the context's error.
CUresult WaitFor(const std::shared_ptr<Stream>& stream, uint64_t position) {
  stream->WaitUntilDone(position);
  return stream->context().broken.load();
}

}  // namespace

extern "C" {

CUresult cuStreamCreate(CUstream* name, unsigned int flags) {
  FAKE_CUDA_CALL("cuStreamCreate", Needs::kGoodContext);
  if ((flags & ~static_cast<unsigned>(CU_STREAM_NON_BLOCKING)) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  Driver& driver = call.driver();
  *name = fake_cuda::NewHandle<CUstream>(driver);
  driver.streams[*name] =
      std::make_shared<Stream>(call.shared_context(), driver.hold, driver.config.copy_delay_us);
  return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream name) {
  std::shared_ptr<Stream> stream;  // ends after the call has given the lock back
  FAKE_CUDA_CALL("cuStreamDestroy", Needs::kContext);
  Driver& driver = call.driver();
  const auto found = driver.streams.find(name);
  if (found == driver.streams.end()) {
    return call.Misuse("no such stream " + fake_cuda::Hex(name), CUDA_ERROR_INVALID_HANDLE);
  }
  stream = std::move(found->second);
  driver.streams.erase(found);
  const CUresult broken = call.context().broken.load();
  // In a broken context nothing that is left will run.
  if (stream->submitted() == stream->done() || broken != CUDA_SUCCESS) return broken;
  return call.Misuse("work is left on the stream", CUDA_SUCCESS);
}

CUresult cuStreamSynchronize(CUstream name) {
  std::shared_ptr<Stream> stream;
  {
    // In a broken context too, it returns when nothing runs any more.
    FAKE_CUDA_CALL("cuStreamSynchronize", Needs::kContext);
    const auto found = call.driver().streams.find(name);
    if (found == call.driver().streams.end()) {
      return call.Misuse("no such stream " + fake_cuda::Hex(name), CUDA_ERROR_INVALID_HANDLE);
    }
    stream = found->second;
  }
  return WaitFor(stream, stream->submitted());
}

CUresult cuEventCreate(CUevent* name, unsigned int) {
  FAKE_CUDA_CALL("cuEventCreate", Needs::kGoodContext);
  *name = fake_cuda::NewHandle<CUevent>(call.driver());
  Event event;
  event.context = call.context().handle;
  call.driver().events[*name] = event;
  return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent name) {
  FAKE_CUDA_CALL("cuEventDestroy", Needs::kContext);
  if (call.driver().events.erase(name) == 1) return call.context().broken.load();
  return call.Misuse("no such event " + fake_cuda::Hex(name), CUDA_ERROR_INVALID_HANDLE);
}

CUresult cuEventRecord(CUevent name, CUstream stream_name) {
  FAKE_CUDA_CALL("cuEventRecord", Needs::kGoodContext);
  Driver& driver = call.driver();
  const auto event = driver.events.find(name);
  if (event == driver.events.end()) {
    return call.Misuse("no such event " + fake_cuda::Hex(name), CUDA_ERROR_INVALID_HANDLE);
  }
  const auto stream = driver.streams.find(stream_name);
  if (stream == driver.streams.end()) {
    return call.Misuse("no such stream " + fake_cuda::Hex(stream_name), CUDA_ERROR_INVALID_HANDLE);
  }
  if (stream->second->context().handle != event->second.context) {
    return call.Misuse("event and stream are of different contexts", CUDA_ERROR_INVALID_HANDLE);
  }
  event->second.stream = stream->second;
  event->second.position = stream->second->submitted();
  return CUDA_SUCCESS;
}

CUresult cuEventQuery(CUevent name) {
  FAKE_CUDA_CALL("cuEventQuery", Needs::kGoodContext);
  const auto event = call.driver().events.find(name);
  if (event == call.driver().events.end()) {
    return call.Misuse("no such event " + fake_cuda::Hex(name), CUDA_ERROR_INVALID_HANDLE);
  }
  if (event->second.stream == nullptr) {
    return call.Misuse("the event was never recorded", CUDA_SUCCESS);
  }
  if (event->second.stream->done() < event->second.position) return CUDA_ERROR_NOT_READY;
  // The copy that has just ended may have broken the context.
  return call.context().broken.load();
}

CUresult cuEventSynchronize(CUevent name) {
  std::shared_ptr<Stream> stream;
  uint64_t position = 0;
  {
    FAKE_CUDA_CALL("cuEventSynchronize", Needs::kGoodContext);
    const auto event = call.driver().events.find(name);
    if (event == call.driver().events.end()) {
      return call.Misuse("no such event " + fake_cuda::Hex(name), CUDA_ERROR_INVALID_HANDLE);
    }
    if (event->second.stream == nullptr) {
      return call.Misuse("the event was never recorded", CUDA_SUCCESS);
    }
    stream = event->second.stream;
    position = event->second.position;
  }
  return WaitFor(stream, position);
}

}  // extern "C"

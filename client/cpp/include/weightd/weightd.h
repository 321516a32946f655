#ifndef WEIGHTD_WEIGHTD_H_
#define WEIGHTD_WEIGHTD_H_

#include <stddef.h>
#include <stdint.h>

/* weightd for C, and through it for other languages: the library behind <weightd/client.h>, which
   says more about what attaching is, about threads and about fork().

     weightd_attach_options options = WEIGHTD_ATTACH_OPTIONS_INIT;
     weightd_mapping* mapping = NULL;
     weightd_error* error = weightd_attach("org/model", &options, &mapping);
     if (error != NULL) {
       fprintf(stderr, "%s\n", weightd_error_text(error));
       weightd_error_free(error);
       return 1;
     }
     const weightd_tensor* tensor = weightd_mapping_find(mapping, "model.norm.weight");
     ...
     weightd_mapping_free(mapping);   unmaps the memory, and gives the lease back

   Strings are UTF-8 and end with a NUL. A pointer that a function returns belongs to the object
   that it was asked of, and lives as long, unless the function says otherwise. No function throws
   or ends the process. Functions on one object may run on many threads at once, but for those that
   free it. */

/* C's names. NOLINTBEGIN(readability-identifier-naming,modernize-*) */

#ifdef __cplusplus
extern "C" {
#endif

#define WEIGHTD_EXPORT __attribute__((visibility("default")))

/* Element types, little-endian: the values of weightd::client::DType. weightd_dtype_name() says
   "BF16" and so on. */
typedef uint8_t weightd_dtype;
enum {
  WEIGHTD_BOOL = 1,
  WEIGHTD_F4 = 2,      /* bit-packed, 4 bits */
  WEIGHTD_F6_E2M3 = 3, /* bit-packed, 6 bits */
  WEIGHTD_F6_E3M2 = 4, /* bit-packed, 6 bits */
  WEIGHTD_U8 = 5,
  WEIGHTD_I8 = 6,
  WEIGHTD_F8_E5M2 = 7,
  WEIGHTD_F8_E4M3 = 8,
  WEIGHTD_F8_E8M0 = 9,
  WEIGHTD_F8_E4M3FNUZ = 10,
  WEIGHTD_F8_E5M2FNUZ = 11,
  WEIGHTD_I16 = 12,
  WEIGHTD_U16 = 13,
  WEIGHTD_F16 = 14,
  WEIGHTD_BF16 = 15,
  WEIGHTD_I32 = 16,
  WEIGHTD_U32 = 17,
  WEIGHTD_F32 = 18,
  WEIGHTD_C64 = 19, /* two F32: real, imaginary */
  WEIGHTD_F64 = 20,
  WEIGHTD_I64 = 21,
  WEIGHTD_U64 = 22,
  WEIGHTD_C32 = 23,     /* two F16 */
  WEIGHTD_C128 = 24,    /* two F64 */
  WEIGHTD_OPAQUE8 = 25, /* of a type that only torch has: weightd_tensor.torch_dtype names it */
  WEIGHTD_OPAQUE16 = 26,
  WEIGHTD_OPAQUE32 = 27,
  WEIGHTD_OPAQUE64 = 28
};
/* "BF16"; "UNKNOWN" for what is none. Lives for ever. */
WEIGHTD_EXPORT const char* weightd_dtype_name(weightd_dtype dtype);
/* Of one element: 4 to 128; 0 for what is none. */
WEIGHTD_EXPORT uint32_t weightd_dtype_bits(weightd_dtype dtype);

/* Why a call failed. */
typedef struct weightd_error weightd_error;
/* The number of gRPC's status code: 5 is NOT_FOUND. */
WEIGHTD_EXPORT int weightd_error_code(const weightd_error* error);
/* A stable word such as "MODEL_NOT_RESIDENT"; empty for an error without one. */
WEIGHTD_EXPORT const char* weightd_error_reason(const weightd_error* error);
/* What was done, to what, and what went wrong; for people. */
WEIGHTD_EXPORT const char* weightd_error_message(const weightd_error* error);
/* "NOT_FOUND/MODEL_NOT_FOUND: attach m: ...". */
WEIGHTD_EXPORT const char* weightd_error_text(const weightd_error* error);
/* Of NULL too. */
WEIGHTD_EXPORT void weightd_error_free(weightd_error* error);

/* One tensor: dense and row-major. */
typedef struct weightd_tensor {
  const char* name;
  size_t name_bytes; /* without the NUL; a name of a .tensors file may hold others */
  /* The first element; NULL when `bytes` is 0. Host memory of this process, which may be read and
     not written, or a CUdeviceptr: see weightd_mapping_device(). */
  const void* data;
  uint64_t bytes;
  weightd_dtype dtype;
  const char* torch_dtype; /* "torch.uint4"; empty but for the opaque dtypes */
  uint32_t rank;
  const int64_t* shape;   /* `rank` of them, outermost first */
  const int64_t* strides; /* likewise, in bytes; NULL for scalars and bit-packed dtypes */
  const char* xxh3_128;   /* of its bytes, 32 hexadecimal digits; empty where the stage made none */
} weightd_tensor;

/* What happened to a lease while it is held: weightd::client::Notice::Kind. */
enum {
  WEIGHTD_NOTICE_SUPERSEDED = 0, /* a newer generation is resident; this one stays what it is */
  WEIGHTD_NOTICE_DRAINING = 1,   /* the daemon shuts down */
  WEIGHTD_NOTICE_REVOKING = 2,   /* an operator evicts the model by force: let the mapping go */
  WEIGHTD_NOTICE_DAMAGED = 3,    /* the memory does not hold any more what was staged */
  WEIGHTD_NOTICE_LEASE_LOST = 4  /* the last one; host memory stays valid, GPU memory does not */
};
typedef struct weightd_notice {
  int kind;
  uint64_t generation_id;   /* only SUPERSEDED */
  int64_t deadline_unix_ms; /* only DRAINING and REVOKING */
  const char* text;         /* only LEASE_LOST: why; lives until the callback returns */
} weightd_notice;

/* How the stage goes that an attach waits for: weightd::client::Progress. */
enum {
  WEIGHTD_QUEUED = 0,
  WEIGHTD_PLANNING = 1,
  WEIGHTD_READING = 2,
  WEIGHTD_PUBLISHING = 3,
  WEIGHTD_STAGED = 4
};
typedef struct weightd_progress {
  int phase;
  uint32_t jobs_ahead; /* only QUEUED */
  uint64_t bytes_done; /* of bytes_total; both 0 before the plan is made */
  uint64_t bytes_total;
  uint64_t bytes_per_second;
} weightd_progress;

/* Ends attaches that other threads wait for: they return CANCELLED soon, and those that begin later
   at once. */
typedef struct weightd_cancellation weightd_cancellation;
/* NULL where there is no memory. */
WEIGHTD_EXPORT weightd_cancellation* weightd_cancellation_new(void);
/* Any number of times, from any thread. */
WEIGHTD_EXPORT void weightd_cancellation_cancel(weightd_cancellation* cancellation);
/* Attaches that were given it may go on. Of NULL too. */
WEIGHTD_EXPORT void weightd_cancellation_free(weightd_cancellation* cancellation);

enum {
  WEIGHTD_REQUIRE = 0, /* a model that is not resident is refused */
  WEIGHTD_WAIT = 1     /* it is staged, and waited for */
};
typedef struct weightd_attach_options {
  size_t struct_bytes;     /* set by WEIGHTD_ATTACH_OPTIONS_INIT: later versions may have more */
  const char* socket_dir;  /* NULL or empty: $WEIGHTD_SOCKET_DIR, else as the daemon chooses */
  const char* device;      /* "host", a GPU's UUID; NULL or empty: the daemon's default */
  const char* client_name; /* what `weightctl leases` shows, at most 64 bytes; may be NULL */
  int64_t timeout_ms;      /* for connecting and what the daemon sends; above 0 */
  int policy;
  int64_t wait_timeout_ms; /* for staging; above 0, at most a day */
  /* Called on a thread of the library, one at a time; must not block or free the mapping. May be
   * NULL. */
  void (*on_notice)(const weightd_notice* notice, void* user_data);
  void* user_data; /* of both callbacks */
  /* Likewise, while the attach waits. May be NULL. */
  void (*on_progress)(const weightd_progress* progress, void* user_data);
  const weightd_cancellation* cancellation; /* may be NULL */
} weightd_attach_options;
/* The callbacks, user_data and cancellation are NULL. */
#define WEIGHTD_ATTACH_OPTIONS_INIT                                                               \
  {                                                                                               \
    sizeof(weightd_attach_options), NULL, NULL, NULL, 10000, WEIGHTD_REQUIRE, 600000, NULL, NULL, \
        NULL, NULL                                                                                \
  }

/* A leased model in this process's memory. */
typedef struct weightd_mapping weightd_mapping;

/* Leases a model and maps it: NULL, and the mapping in `*mapping`, which the caller frees; or an
   error, which the caller frees, and `*mapping` is NULL. `options` may be NULL. Errors are those of
   weightd::client::Attach(). */
WEIGHTD_EXPORT weightd_error* weightd_attach(const char* model,
                                             const weightd_attach_options* options,
                                             weightd_mapping** mapping);
/* Unmaps the memory and gives the lease back: all that came of the mapping is invalid from here on.
   Of NULL too. */
WEIGHTD_EXPORT void weightd_mapping_free(weightd_mapping* mapping);

WEIGHTD_EXPORT size_t weightd_mapping_tensor_count(const weightd_mapping* mapping);
/* In an order that is the same for every attach to a generation; NULL from the count on. */
WEIGHTD_EXPORT const weightd_tensor* weightd_mapping_tensor(const weightd_mapping* mapping,
                                                            size_t index);
/* By name, in constant time; NULL where there is none. */
WEIGHTD_EXPORT const weightd_tensor* weightd_mapping_find(const weightd_mapping* mapping,
                                                          const char* name);
/* "host" or the GPU's UUID. */
WEIGHTD_EXPORT const char* weightd_mapping_device(const weightd_mapping* mapping);
WEIGHTD_EXPORT uint64_t weightd_mapping_generation_id(const weightd_mapping* mapping);
WEIGHTD_EXPORT uint64_t weightd_mapping_lease_id(const weightd_mapping* mapping);
/* Bytes of all tensors. */
WEIGHTD_EXPORT uint64_t weightd_mapping_total_bytes(const weightd_mapping* mapping);
/* 1 while the daemon holds the lease for this process, else 0. */
WEIGHTD_EXPORT int weightd_mapping_lease_held(const weightd_mapping* mapping);
/* A value of the checkpoint's header (safetensors __metadata__); NULL where there is none. */
WEIGHTD_EXPORT const char* weightd_mapping_metadata(const weightd_mapping* mapping,
                                                    const char* key);

#ifdef __cplusplus
} /* extern "C" */
#endif

/* NOLINTEND(readability-identifier-naming,modernize-*) */

#endif /* WEIGHTD_WEIGHTD_H_ */

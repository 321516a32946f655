/* The same as attach_example.cc, in C:
     attach_example_c MODEL [TENSOR] */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <weightd/weightd.h>

static void print_tensor(const weightd_tensor* tensor) {
  printf("  %s  %s [", tensor->name, weightd_dtype_name(tensor->dtype));
  for (uint32_t i = 0; i < tensor->rank; ++i) {
    printf("%s%" PRId64, i == 0 ? "" : ", ", tensor->shape[i]);
  }
  printf("]  %" PRIu64 " bytes\n", tensor->bytes);
}

static float from_bf16(uint16_t stored) {
  const uint32_t bits = (uint32_t)stored << 16;
  float value = 0;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

/* 1, and the elements' sum; 0 for dtypes that this example does not know. Of host memory. */
static int sum_elements(const weightd_tensor* tensor, double* sum) {
  *sum = 0;
  if (tensor->dtype == WEIGHTD_F32) {
    const float* values = tensor->data;
    for (uint64_t i = 0; i < tensor->bytes / sizeof(*values); ++i) *sum += values[i];
    return 1;
  }
  if (tensor->dtype == WEIGHTD_BF16) {
    const uint16_t* values = tensor->data;
    for (uint64_t i = 0; i < tensor->bytes / sizeof(*values); ++i) *sum += from_bf16(values[i]);
    return 1;
  }
  if (tensor->dtype == WEIGHTD_U8) {
    const uint8_t* values = tensor->data;
    for (uint64_t i = 0; i < tensor->bytes; ++i) *sum += values[i];
    return 1;
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: attach_example_c MODEL [TENSOR]\n");
    return 2;
  }
  weightd_attach_options options = WEIGHTD_ATTACH_OPTIONS_INIT;
  options.client_name = "attach_example_c";
  weightd_mapping* mapping = NULL;
  weightd_error* error = weightd_attach(argv[1], &options, &mapping);
  if (error != NULL) {
    fprintf(stderr, "%s\n", weightd_error_text(error));
    weightd_error_free(error);
    return 1;
  }
  const char* device = weightd_mapping_device(mapping);
  printf("%s generation %" PRIu64 " on %s, %zu tensors, %" PRIu64 " bytes\n", argv[1],
         weightd_mapping_generation_id(mapping), device, weightd_mapping_tensor_count(mapping),
         weightd_mapping_total_bytes(mapping));
  for (size_t i = 0; i < weightd_mapping_tensor_count(mapping); ++i) {
    print_tensor(weightd_mapping_tensor(mapping, i));
  }

  int status = 0;
  double sum = 0;
  const weightd_tensor* chosen =
      argc > 2 ? weightd_mapping_find(mapping, argv[2]) : weightd_mapping_tensor(mapping, 0);
  if (chosen == NULL) {
    fprintf(stderr, "no such tensor\n");
    status = 1;
  } else if (strcmp(device, "host") == 0 && sum_elements(chosen, &sum)) {
    printf("sum of %s: %g\n", chosen->name, sum);
  } else {
    printf("%s is not summed here\n", chosen->name);
  }
  weightd_mapping_free(mapping);
  return status;
}

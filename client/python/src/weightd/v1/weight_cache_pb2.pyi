from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

ATTACH_POLICY_UNSPECIFIED: AttachPolicy
ATTACH_REFUSED: EventType
BF16: DType
BOOL: DType
BUFFER: TensorKind
C128: DType
C32: DType
C64: DType
DAMAGED: EventType
DEMOTED: EventType
DEMOTING: ResidencyState
DEMOTION_FAILED: EventType
DESCRIPTOR: _descriptor.FileDescriptor
DEVICE: Tier
DRAIN_STARTED: EventType
D_TYPE_UNSPECIFIED: DType
EVENT_TYPE_UNSPECIFIED: EventType
EVICTED: EventType
EVICTING: ResidencyState
F16: DType
F32: DType
F4: DType
F64: DType
F6_E2M3: DType
F6_E3M2: DType
F8_E4M3: DType
F8_E4M3FNUZ: DType
F8_E5M2: DType
F8_E5M2FNUZ: DType
F8_E8M0: DType
FAILED: ResidencyState
FAST: VerifyMode
FULL: VerifyMode
HOST: Tier
I16: DType
I32: DType
I64: DType
I8: DType
LEASE_ENDED: EventType
LEASE_GRANTED: EventType
LEASE_REVOKED: EventType
MODEL_ADDED: EventType
MODEL_CHANGED: EventType
MODEL_REMOVED: EventType
NONE: VerifyMode
OPAQUE16: DType
OPAQUE32: DType
OPAQUE64: DType
OPAQUE8: DType
PARAMETER: TensorKind
PINNED: EventType
PLANNING: StagePhase
PRELOAD_ABSENT: PreloadState
PRELOAD_FAILED: PreloadState
PRELOAD_QUEUED: PreloadState
PRELOAD_RESIDENT: PreloadState
PRELOAD_STAGING: PreloadState
PRELOAD_STATE_UNSPECIFIED: PreloadState
PUBLISHING: StagePhase
QUEUED: StagePhase
READING: StagePhase
REQUIRE: AttachPolicy
RESIDENCY_STATE_UNSPECIFIED: ResidencyState
RESIDENT: ResidencyState
REVOKING: ResidencyState
STAGED: StagePhase
STAGE_DONE: EventType
STAGE_FAILED: EventType
STAGE_PHASE_UNSPECIFIED: StagePhase
STAGE_REFUSED: EventType
STAGE_STARTED: EventType
STAGING: ResidencyState
STATE_DICT_ENTRY: TensorKind
SUPERSEDED: EventType
TENSOR_KIND_UNSPECIFIED: TensorKind
TIER_UNSPECIFIED: Tier
U16: DType
U32: DType
U64: DType
U8: DType
UNPINNED: EventType
VERIFIED: EventType
VERIFY_MODE_UNSPECIFIED: VerifyMode
VOLUME: Tier
WAIT: AttachPolicy

class AccessFacts(_message.Message):
    __slots__ = ["attach_gids", "attach_uids", "operate_gids", "operate_uids"]
    ATTACH_GIDS_FIELD_NUMBER: _ClassVar[int]
    ATTACH_UIDS_FIELD_NUMBER: _ClassVar[int]
    OPERATE_GIDS_FIELD_NUMBER: _ClassVar[int]
    OPERATE_UIDS_FIELD_NUMBER: _ClassVar[int]
    attach_gids: _containers.RepeatedScalarFieldContainer[int]
    attach_uids: _containers.RepeatedScalarFieldContainer[int]
    operate_gids: _containers.RepeatedScalarFieldContainer[int]
    operate_uids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, attach_uids: _Optional[_Iterable[int]] = ..., attach_gids: _Optional[_Iterable[int]] = ..., operate_uids: _Optional[_Iterable[int]] = ..., operate_gids: _Optional[_Iterable[int]] = ...) -> None: ...

class Allocation(_message.Message):
    __slots__ = ["bytes", "cuda_ipc_handle", "fd_index"]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CUDA_IPC_HANDLE_FIELD_NUMBER: _ClassVar[int]
    FD_INDEX_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    cuda_ipc_handle: bytes
    fd_index: int
    def __init__(self, bytes: _Optional[int] = ..., cuda_ipc_handle: _Optional[bytes] = ..., fd_index: _Optional[int] = ...) -> None: ...

class AttachRequest(_message.Message):
    __slots__ = ["client_name", "device", "model", "policy", "timeout"]
    CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    client_name: str
    device: str
    model: str
    policy: AttachPolicy
    timeout: _duration_pb2.Duration
    def __init__(self, model: _Optional[str] = ..., device: _Optional[str] = ..., client_name: _Optional[str] = ..., policy: _Optional[_Union[AttachPolicy, str]] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ["damaged", "draining", "granted", "metadata", "progress", "ready", "revoking", "superseded", "tensors"]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    REVOKING_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    damaged: Damaged
    draining: Draining
    granted: Granted
    metadata: MetadataBatch
    progress: StageModelResponse
    ready: Ready
    revoking: Revoking
    superseded: Superseded
    tensors: TensorBatch
    def __init__(self, granted: _Optional[_Union[Granted, _Mapping]] = ..., tensors: _Optional[_Union[TensorBatch, _Mapping]] = ..., ready: _Optional[_Union[Ready, _Mapping]] = ..., superseded: _Optional[_Union[Superseded, _Mapping]] = ..., draining: _Optional[_Union[Draining, _Mapping]] = ..., revoking: _Optional[_Union[Revoking, _Mapping]] = ..., damaged: _Optional[_Union[Damaged, _Mapping]] = ..., progress: _Optional[_Union[StageModelResponse, _Mapping]] = ..., metadata: _Optional[_Union[MetadataBatch, _Mapping]] = ...) -> None: ...

class Damaged(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class Device(_message.Message):
    __slots__ = ["budget_bytes", "id", "leased_bytes", "name", "pages", "pinned_bytes", "reserve_bytes", "share", "staging_bytes", "stuck_bytes", "tier", "total_bytes", "used_bytes"]
    BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LEASED_BYTES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAGES_FIELD_NUMBER: _ClassVar[int]
    PINNED_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESERVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    STAGING_BYTES_FIELD_NUMBER: _ClassVar[int]
    STUCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    budget_bytes: int
    id: str
    leased_bytes: int
    name: str
    pages: str
    pinned_bytes: int
    reserve_bytes: int
    share: str
    staging_bytes: int
    stuck_bytes: int
    tier: Tier
    total_bytes: int
    used_bytes: int
    def __init__(self, id: _Optional[str] = ..., tier: _Optional[_Union[Tier, str]] = ..., name: _Optional[str] = ..., share: _Optional[str] = ..., budget_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., leased_bytes: _Optional[int] = ..., pinned_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ..., pages: _Optional[str] = ..., reserve_bytes: _Optional[int] = ..., staging_bytes: _Optional[int] = ..., stuck_bytes: _Optional[int] = ...) -> None: ...

class DeviceNode(_message.Message):
    __slots__ = ["error_number", "mode", "path", "usable"]
    ERROR_NUMBER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    USABLE_FIELD_NUMBER: _ClassVar[int]
    error_number: int
    mode: int
    path: str
    usable: bool
    def __init__(self, path: _Optional[str] = ..., mode: _Optional[int] = ..., usable: bool = ..., error_number: _Optional[int] = ...) -> None: ...

class DiagnoseRequest(_message.Message):
    __slots__ = ["skip_reads"]
    SKIP_READS_FIELD_NUMBER: _ClassVar[int]
    skip_reads: bool
    def __init__(self, skip_reads: bool = ...) -> None: ...

class DiagnoseResponse(_message.Message):
    __slots__ = ["access", "driver", "machine", "process", "roots"]
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    access: AccessFacts
    driver: DriverFacts
    machine: MachineFacts
    process: ProcessFacts
    roots: _containers.RepeatedCompositeFieldContainer[RootFacts]
    def __init__(self, process: _Optional[_Union[ProcessFacts, _Mapping]] = ..., machine: _Optional[_Union[MachineFacts, _Mapping]] = ..., roots: _Optional[_Iterable[_Union[RootFacts, _Mapping]]] = ..., driver: _Optional[_Union[DriverFacts, _Mapping]] = ..., access: _Optional[_Union[AccessFacts, _Mapping]] = ...) -> None: ...

class Draining(_message.Message):
    __slots__ = ["deadline"]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    deadline: _timestamp_pb2.Timestamp
    def __init__(self, deadline: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DriverFacts(_message.Message):
    __slots__ = ["cuda_version", "disabled", "error", "gpus", "module_version", "nodes"]
    CUDA_VERSION_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    MODULE_VERSION_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    cuda_version: int
    disabled: bool
    error: str
    gpus: _containers.RepeatedCompositeFieldContainer[GpuFacts]
    module_version: str
    nodes: _containers.RepeatedCompositeFieldContainer[DeviceNode]
    def __init__(self, disabled: bool = ..., error: _Optional[str] = ..., cuda_version: _Optional[int] = ..., module_version: _Optional[str] = ..., nodes: _Optional[_Iterable[_Union[DeviceNode, _Mapping]]] = ..., gpus: _Optional[_Iterable[_Union[GpuFacts, _Mapping]]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ["bytes", "detail", "device", "generation_id", "job_id", "lease_id", "model", "pid", "reason", "sequence", "time", "type", "uid"]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    detail: str
    device: str
    generation_id: int
    job_id: int
    lease_id: int
    model: str
    pid: int
    reason: str
    sequence: int
    time: _timestamp_pb2.Timestamp
    type: EventType
    uid: int
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., type: _Optional[_Union[EventType, str]] = ..., model: _Optional[str] = ..., device: _Optional[str] = ..., generation_id: _Optional[int] = ..., job_id: _Optional[int] = ..., lease_id: _Optional[int] = ..., bytes: _Optional[int] = ..., pid: _Optional[int] = ..., uid: _Optional[int] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class EvictModelRequest(_message.Message):
    __slots__ = ["device", "force", "grace", "model"]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    device: str
    force: bool
    grace: _duration_pb2.Duration
    model: str
    def __init__(self, model: _Optional[str] = ..., device: _Optional[str] = ..., force: bool = ..., grace: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class EvictModelResponse(_message.Message):
    __slots__ = ["bytes_demoted", "bytes_freed", "generations", "leases_revoked"]
    BYTES_DEMOTED_FIELD_NUMBER: _ClassVar[int]
    BYTES_FREED_FIELD_NUMBER: _ClassVar[int]
    GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    LEASES_REVOKED_FIELD_NUMBER: _ClassVar[int]
    bytes_demoted: int
    bytes_freed: int
    generations: int
    leases_revoked: int
    def __init__(self, bytes_freed: _Optional[int] = ..., generations: _Optional[int] = ..., bytes_demoted: _Optional[int] = ..., leases_revoked: _Optional[int] = ...) -> None: ...

class Generation(_message.Message):
    __slots__ = ["allocated_bytes", "by_revision", "bytes_done", "bytes_per_second", "bytes_total", "damaged", "device", "host_copy", "id", "job_id", "last_use_time", "lease_count", "phase", "pinned", "report", "resident_time", "revision", "state", "stuck", "superseded", "tensor_bytes", "tensor_count", "tier"]
    ALLOCATED_BYTES_FIELD_NUMBER: _ClassVar[int]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BY_REVISION_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    HOST_COPY_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_USE_TIME_FIELD_NUMBER: _ClassVar[int]
    LEASE_COUNT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STUCK_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    TENSOR_BYTES_FIELD_NUMBER: _ClassVar[int]
    TENSOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    allocated_bytes: int
    by_revision: bool
    bytes_done: int
    bytes_per_second: int
    bytes_total: int
    damaged: bool
    device: str
    host_copy: bool
    id: int
    job_id: int
    last_use_time: _timestamp_pb2.Timestamp
    lease_count: int
    phase: StagePhase
    pinned: bool
    report: StageReport
    resident_time: _timestamp_pb2.Timestamp
    revision: str
    state: ResidencyState
    stuck: bool
    superseded: bool
    tensor_bytes: int
    tensor_count: int
    tier: Tier
    def __init__(self, id: _Optional[int] = ..., device: _Optional[str] = ..., tier: _Optional[_Union[Tier, str]] = ..., state: _Optional[_Union[ResidencyState, str]] = ..., allocated_bytes: _Optional[int] = ..., tensor_bytes: _Optional[int] = ..., tensor_count: _Optional[int] = ..., pinned: bool = ..., lease_count: _Optional[int] = ..., resident_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., last_use_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., report: _Optional[_Union[StageReport, _Mapping]] = ..., host_copy: bool = ..., bytes_done: _Optional[int] = ..., bytes_total: _Optional[int] = ..., revision: _Optional[str] = ..., superseded: bool = ..., by_revision: bool = ..., damaged: bool = ..., job_id: _Optional[int] = ..., phase: _Optional[_Union[StagePhase, str]] = ..., bytes_per_second: _Optional[int] = ..., stuck: bool = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ["model", "page_size", "page_token"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ["metadata", "metadata_left_out", "model", "next_page_token", "tensor_bytes", "tensor_count", "tensors"]
    class MetadataEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    METADATA_FIELD_NUMBER: _ClassVar[int]
    METADATA_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    TENSOR_BYTES_FIELD_NUMBER: _ClassVar[int]
    TENSOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    metadata: _containers.ScalarMap[str, str]
    metadata_left_out: int
    model: Model
    next_page_token: str
    tensor_bytes: int
    tensor_count: int
    tensors: _containers.RepeatedCompositeFieldContainer[Tensor]
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., tensors: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., tensor_count: _Optional[int] = ..., tensor_bytes: _Optional[int] = ..., metadata: _Optional[_Mapping[str, str]] = ..., metadata_left_out: _Optional[int] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ["default_device", "devices", "draining", "jobs_queued", "jobs_running", "lease_count", "pid", "preloads", "root_watches", "roots", "socket_dir", "start_time", "state", "state_file", "storage", "version", "volumes", "warnings"]
    DEFAULT_DEVICE_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    JOBS_QUEUED_FIELD_NUMBER: _ClassVar[int]
    JOBS_RUNNING_FIELD_NUMBER: _ClassVar[int]
    LEASE_COUNT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    PRELOADS_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    ROOT_WATCHES_FIELD_NUMBER: _ClassVar[int]
    SOCKET_DIR_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FILE_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    default_device: str
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    draining: bool
    jobs_queued: int
    jobs_running: int
    lease_count: int
    pid: int
    preloads: _containers.RepeatedCompositeFieldContainer[Preload]
    root_watches: _containers.RepeatedCompositeFieldContainer[RootWatch]
    roots: _containers.RepeatedScalarFieldContainer[str]
    socket_dir: str
    start_time: _timestamp_pb2.Timestamp
    state: StateFile
    state_file: str
    storage: StorageStatus
    version: str
    volumes: _containers.RepeatedCompositeFieldContainer[VolumeStatus]
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, version: _Optional[str] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., pid: _Optional[int] = ..., roots: _Optional[_Iterable[str]] = ..., socket_dir: _Optional[str] = ..., draining: bool = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., storage: _Optional[_Union[StorageStatus, _Mapping]] = ..., jobs_running: _Optional[int] = ..., jobs_queued: _Optional[int] = ..., lease_count: _Optional[int] = ..., default_device: _Optional[str] = ..., root_watches: _Optional[_Iterable[_Union[RootWatch, _Mapping]]] = ..., state_file: _Optional[str] = ..., state: _Optional[_Union[StateFile, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ..., preloads: _Optional[_Iterable[_Union[Preload, _Mapping]]] = ..., volumes: _Optional[_Iterable[_Union[VolumeStatus, _Mapping]]] = ...) -> None: ...

class GpuFacts(_message.Message):
    __slots__ = ["handles", "id", "name"]
    HANDLES_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    handles: _containers.RepeatedScalarFieldContainer[str]
    id: str
    name: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., handles: _Optional[_Iterable[str]] = ...) -> None: ...

class Granted(_message.Message):
    __slots__ = ["allocations", "device", "fd_ticket", "generation_id", "lease_id", "metadata", "model", "revision", "tensor_bytes", "tensor_count"]
    class MetadataEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ALLOCATIONS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    FD_TICKET_FIELD_NUMBER: _ClassVar[int]
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TENSOR_BYTES_FIELD_NUMBER: _ClassVar[int]
    TENSOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    allocations: _containers.RepeatedCompositeFieldContainer[Allocation]
    device: str
    fd_ticket: bytes
    generation_id: int
    lease_id: int
    metadata: _containers.ScalarMap[str, str]
    model: str
    revision: str
    tensor_bytes: int
    tensor_count: int
    def __init__(self, lease_id: _Optional[int] = ..., model: _Optional[str] = ..., generation_id: _Optional[int] = ..., device: _Optional[str] = ..., allocations: _Optional[_Iterable[_Union[Allocation, _Mapping]]] = ..., tensor_count: _Optional[int] = ..., tensor_bytes: _Optional[int] = ..., fd_ticket: _Optional[bytes] = ..., revision: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ["bytes", "client_name", "device", "generation_id", "id", "model", "pid", "since", "uid"]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    client_name: str
    device: str
    generation_id: int
    id: int
    model: str
    pid: int
    since: _timestamp_pb2.Timestamp
    uid: int
    def __init__(self, id: _Optional[int] = ..., model: _Optional[str] = ..., generation_id: _Optional[int] = ..., device: _Optional[str] = ..., pid: _Optional[int] = ..., uid: _Optional[int] = ..., bytes: _Optional[int] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., client_name: _Optional[str] = ...) -> None: ...

class ListLeasesRequest(_message.Message):
    __slots__ = ["model", "page_size", "page_token"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListLeasesResponse(_message.Message):
    __slots__ = ["leases", "next_page_token"]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[Lease]
    next_page_token: str
    def __init__(self, leases: _Optional[_Iterable[_Union[Lease, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ["page_size", "page_token", "resident_only"]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_ONLY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    resident_only: bool
    def __init__(self, resident_only: bool = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ["models", "next_page_token", "roots"]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    next_page_token: str
    roots: _containers.RepeatedCompositeFieldContainer[ScannedRoot]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., roots: _Optional[_Iterable[_Union[ScannedRoot, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListStageReportsRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class ListStageReportsResponse(_message.Message):
    __slots__ = ["reports"]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    reports: _containers.RepeatedCompositeFieldContainer[StageReport]
    def __init__(self, reports: _Optional[_Iterable[_Union[StageReport, _Mapping]]] = ...) -> None: ...

class MachineFacts(_message.Message):
    __slots__ = ["huge_page_bytes", "huge_pages", "huge_pages_free", "io_uring_disabled", "io_uring_errno", "kernel", "shmem_huge_pages", "transparent_huge_pages"]
    HUGE_PAGES_FIELD_NUMBER: _ClassVar[int]
    HUGE_PAGES_FREE_FIELD_NUMBER: _ClassVar[int]
    HUGE_PAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    IO_URING_DISABLED_FIELD_NUMBER: _ClassVar[int]
    IO_URING_ERRNO_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    SHMEM_HUGE_PAGES_FIELD_NUMBER: _ClassVar[int]
    TRANSPARENT_HUGE_PAGES_FIELD_NUMBER: _ClassVar[int]
    huge_page_bytes: int
    huge_pages: int
    huge_pages_free: int
    io_uring_disabled: int
    io_uring_errno: int
    kernel: str
    shmem_huge_pages: str
    transparent_huge_pages: str
    def __init__(self, kernel: _Optional[str] = ..., io_uring_disabled: _Optional[int] = ..., io_uring_errno: _Optional[int] = ..., huge_page_bytes: _Optional[int] = ..., huge_pages: _Optional[int] = ..., huge_pages_free: _Optional[int] = ..., transparent_huge_pages: _Optional[str] = ..., shmem_huge_pages: _Optional[str] = ...) -> None: ...

class MetadataBatch(_message.Message):
    __slots__ = ["pieces"]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    pieces: _containers.RepeatedCompositeFieldContainer[MetadataPiece]
    def __init__(self, pieces: _Optional[_Iterable[_Union[MetadataPiece, _Mapping]]] = ...) -> None: ...

class MetadataPiece(_message.Message):
    __slots__ = ["continues", "key", "value"]
    CONTINUES_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    continues: bool
    key: bytes
    value: bytes
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., continues: bool = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ["changed", "file_bytes", "generations", "name", "problem", "removed", "revision", "root", "shard_count"]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    SHARD_COUNT_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    file_bytes: int
    generations: _containers.RepeatedCompositeFieldContainer[Generation]
    name: str
    problem: str
    removed: bool
    revision: str
    root: str
    shard_count: int
    def __init__(self, name: _Optional[str] = ..., root: _Optional[str] = ..., revision: _Optional[str] = ..., shard_count: _Optional[int] = ..., file_bytes: _Optional[int] = ..., generations: _Optional[_Iterable[_Union[Generation, _Mapping]]] = ..., problem: _Optional[str] = ..., changed: bool = ..., removed: bool = ...) -> None: ...

class PinModelRequest(_message.Message):
    __slots__ = ["device", "model"]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    device: str
    model: str
    def __init__(self, model: _Optional[str] = ..., device: _Optional[str] = ...) -> None: ...

class PinModelResponse(_message.Message):
    __slots__ = ["generations", "kept", "not_kept"]
    GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    NOT_KEPT_FIELD_NUMBER: _ClassVar[int]
    generations: _containers.RepeatedCompositeFieldContainer[Generation]
    kept: bool
    not_kept: str
    def __init__(self, generations: _Optional[_Iterable[_Union[Generation, _Mapping]]] = ..., kept: bool = ..., not_kept: _Optional[str] = ...) -> None: ...

class Preload(_message.Message):
    __slots__ = ["bytes_done", "bytes_total", "error", "job_id", "model", "reason", "state"]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    bytes_done: int
    bytes_total: int
    error: str
    job_id: int
    model: str
    reason: str
    state: PreloadState
    def __init__(self, model: _Optional[str] = ..., state: _Optional[_Union[PreloadState, str]] = ..., bytes_done: _Optional[int] = ..., bytes_total: _Optional[int] = ..., error: _Optional[str] = ..., reason: _Optional[str] = ..., job_id: _Optional[int] = ...) -> None: ...

class ProcessFacts(_message.Message):
    __slots__ = ["gid", "may_lock_memory", "memlock_bytes", "no_new_privileges", "open_files_max", "pid_namespace", "seccomp_mode", "supplementary_gids", "uid"]
    GID_FIELD_NUMBER: _ClassVar[int]
    MAY_LOCK_MEMORY_FIELD_NUMBER: _ClassVar[int]
    MEMLOCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    NO_NEW_PRIVILEGES_FIELD_NUMBER: _ClassVar[int]
    OPEN_FILES_MAX_FIELD_NUMBER: _ClassVar[int]
    PID_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SECCOMP_MODE_FIELD_NUMBER: _ClassVar[int]
    SUPPLEMENTARY_GIDS_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    gid: int
    may_lock_memory: bool
    memlock_bytes: int
    no_new_privileges: bool
    open_files_max: int
    pid_namespace: int
    seccomp_mode: int
    supplementary_gids: _containers.RepeatedScalarFieldContainer[int]
    uid: int
    def __init__(self, pid_namespace: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., supplementary_gids: _Optional[_Iterable[int]] = ..., seccomp_mode: _Optional[int] = ..., no_new_privileges: bool = ..., memlock_bytes: _Optional[int] = ..., may_lock_memory: bool = ..., open_files_max: _Optional[int] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class Revoking(_message.Message):
    __slots__ = ["deadline"]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    deadline: _timestamp_pb2.Timestamp
    def __init__(self, deadline: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RootFacts(_message.Message):
    __slots__ = ["bytes_read", "direct", "direct_alignment", "engine", "error", "file", "kind", "read_time", "reason", "root"]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    DIRECT_ALIGNMENT_FIELD_NUMBER: _ClassVar[int]
    DIRECT_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    READ_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    bytes_read: int
    direct: bool
    direct_alignment: int
    engine: str
    error: str
    file: str
    kind: str
    read_time: _duration_pb2.Duration
    reason: str
    root: str
    def __init__(self, root: _Optional[str] = ..., kind: _Optional[str] = ..., file: _Optional[str] = ..., direct_alignment: _Optional[int] = ..., bytes_read: _Optional[int] = ..., read_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., direct: bool = ..., engine: _Optional[str] = ..., error: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RootWatch(_message.Message):
    __slots__ = ["notified", "reason", "root"]
    NOTIFIED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    notified: bool
    reason: str
    root: str
    def __init__(self, root: _Optional[str] = ..., notified: bool = ..., reason: _Optional[str] = ...) -> None: ...

class ScannedRoot(_message.Message):
    __slots__ = ["problem", "reason", "root", "scan_time"]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    SCAN_TIME_FIELD_NUMBER: _ClassVar[int]
    problem: str
    reason: str
    root: str
    scan_time: _timestamp_pb2.Timestamp
    def __init__(self, root: _Optional[str] = ..., scan_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., problem: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class StageModelRequest(_message.Message):
    __slots__ = ["bytes_per_second_max", "detached", "devices", "host_copy", "model", "pin", "restage", "verify"]
    BYTES_PER_SECOND_MAX_FIELD_NUMBER: _ClassVar[int]
    DETACHED_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    HOST_COPY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PIN_FIELD_NUMBER: _ClassVar[int]
    RESTAGE_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    bytes_per_second_max: int
    detached: bool
    devices: _containers.RepeatedScalarFieldContainer[str]
    host_copy: bool
    model: str
    pin: bool
    restage: bool
    verify: VerifyMode
    def __init__(self, model: _Optional[str] = ..., devices: _Optional[_Iterable[str]] = ..., pin: bool = ..., detached: bool = ..., restage: bool = ..., bytes_per_second_max: _Optional[int] = ..., host_copy: bool = ..., verify: _Optional[_Union[VerifyMode, str]] = ...) -> None: ...

class StageModelResponse(_message.Message):
    __slots__ = ["already_resident", "bytes_done", "bytes_per_second", "bytes_total", "generations", "job_id", "jobs_ahead", "joined", "phase"]
    ALREADY_RESIDENT_FIELD_NUMBER: _ClassVar[int]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    JOBS_AHEAD_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    already_resident: bool
    bytes_done: int
    bytes_per_second: int
    bytes_total: int
    generations: _containers.RepeatedCompositeFieldContainer[Generation]
    job_id: int
    jobs_ahead: int
    joined: bool
    phase: StagePhase
    def __init__(self, job_id: _Optional[int] = ..., phase: _Optional[_Union[StagePhase, str]] = ..., bytes_done: _Optional[int] = ..., bytes_total: _Optional[int] = ..., bytes_per_second: _Optional[int] = ..., generations: _Optional[_Iterable[_Union[Generation, _Mapping]]] = ..., already_resident: bool = ..., joined: bool = ..., jobs_ahead: _Optional[int] = ...) -> None: ...

class StageReport(_message.Message):
    __slots__ = ["buffered_bytes", "bytes_per_second", "bytes_read", "cached_bytes", "copied_bytes", "copy_time", "devices", "digest_manifest", "direct_bytes", "end_time", "engine", "error", "fallbacks", "files_checked", "generation_id", "hashes_checked", "job_id", "model", "plan_time", "publish_time", "read_time", "reason", "source", "tensors_moved", "verify", "verify_time"]
    BUFFERED_BYTES_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    CACHED_BYTES_FIELD_NUMBER: _ClassVar[int]
    COPIED_BYTES_FIELD_NUMBER: _ClassVar[int]
    COPY_TIME_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_MANIFEST_FIELD_NUMBER: _ClassVar[int]
    DIRECT_BYTES_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    FILES_CHECKED_FIELD_NUMBER: _ClassVar[int]
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    HASHES_CHECKED_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PLAN_TIME_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_TIME_FIELD_NUMBER: _ClassVar[int]
    READ_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TENSORS_MOVED_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    VERIFY_TIME_FIELD_NUMBER: _ClassVar[int]
    buffered_bytes: int
    bytes_per_second: int
    bytes_read: int
    cached_bytes: int
    copied_bytes: int
    copy_time: _duration_pb2.Duration
    devices: _containers.RepeatedScalarFieldContainer[str]
    digest_manifest: str
    direct_bytes: int
    end_time: _timestamp_pb2.Timestamp
    engine: str
    error: str
    fallbacks: _containers.RepeatedScalarFieldContainer[str]
    files_checked: int
    generation_id: int
    hashes_checked: int
    job_id: int
    model: str
    plan_time: _duration_pb2.Duration
    publish_time: _duration_pb2.Duration
    read_time: _duration_pb2.Duration
    reason: str
    source: str
    tensors_moved: int
    verify: VerifyMode
    verify_time: _duration_pb2.Duration
    def __init__(self, job_id: _Optional[int] = ..., engine: _Optional[str] = ..., fallbacks: _Optional[_Iterable[str]] = ..., bytes_read: _Optional[int] = ..., plan_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., read_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., publish_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., bytes_per_second: _Optional[int] = ..., tensors_moved: _Optional[int] = ..., copy_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., direct_bytes: _Optional[int] = ..., cached_bytes: _Optional[int] = ..., buffered_bytes: _Optional[int] = ..., model: _Optional[str] = ..., devices: _Optional[_Iterable[str]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., generation_id: _Optional[int] = ..., error: _Optional[str] = ..., reason: _Optional[str] = ..., verify_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., source: _Optional[str] = ..., copied_bytes: _Optional[int] = ..., verify: _Optional[_Union[VerifyMode, str]] = ..., hashes_checked: _Optional[int] = ..., digest_manifest: _Optional[str] = ..., files_checked: _Optional[int] = ...) -> None: ...

class StateFile(_message.Message):
    __slots__ = ["error", "failing_since", "written_time"]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FAILING_SINCE_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_TIME_FIELD_NUMBER: _ClassVar[int]
    error: str
    failing_since: _timestamp_pb2.Timestamp
    written_time: _timestamp_pb2.Timestamp
    def __init__(self, error: _Optional[str] = ..., failing_since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., written_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StorageStatus(_message.Message):
    __slots__ = ["block_bytes", "engine", "engine_reason", "pool_bytes", "pool_pages"]
    BLOCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_REASON_FIELD_NUMBER: _ClassVar[int]
    POOL_BYTES_FIELD_NUMBER: _ClassVar[int]
    POOL_PAGES_FIELD_NUMBER: _ClassVar[int]
    block_bytes: int
    engine: str
    engine_reason: str
    pool_bytes: int
    pool_pages: str
    def __init__(self, engine: _Optional[str] = ..., engine_reason: _Optional[str] = ..., block_bytes: _Optional[int] = ..., pool_bytes: _Optional[int] = ..., pool_pages: _Optional[str] = ...) -> None: ...

class StuckCall(_message.Message):
    __slots__ = ["bytes", "calls", "model", "since", "what"]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    calls: int
    model: str
    since: _timestamp_pb2.Timestamp
    what: str
    def __init__(self, what: _Optional[str] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., calls: _Optional[int] = ..., model: _Optional[str] = ..., bytes: _Optional[int] = ...) -> None: ...

class Superseded(_message.Message):
    __slots__ = ["generation_id"]
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    generation_id: int
    def __init__(self, generation_id: _Optional[int] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ["allocation_index", "bytes", "dtype", "kind", "name", "offset", "shape", "torch_dtype", "xxh3_128"]
    ALLOCATION_INDEX_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    TORCH_DTYPE_FIELD_NUMBER: _ClassVar[int]
    XXH3_128_FIELD_NUMBER: _ClassVar[int]
    allocation_index: int
    bytes: int
    dtype: DType
    kind: TensorKind
    name: str
    offset: int
    shape: _containers.RepeatedScalarFieldContainer[int]
    torch_dtype: str
    xxh3_128: str
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[_Union[DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., allocation_index: _Optional[int] = ..., offset: _Optional[int] = ..., bytes: _Optional[int] = ..., torch_dtype: _Optional[str] = ..., kind: _Optional[_Union[TensorKind, str]] = ..., xxh3_128: _Optional[str] = ...) -> None: ...

class TensorBatch(_message.Message):
    __slots__ = ["tensors"]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    tensors: _containers.RepeatedCompositeFieldContainer[Tensor]
    def __init__(self, tensors: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ...) -> None: ...

class UnpinModelRequest(_message.Message):
    __slots__ = ["device", "model"]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    device: str
    model: str
    def __init__(self, model: _Optional[str] = ..., device: _Optional[str] = ...) -> None: ...

class UnpinModelResponse(_message.Message):
    __slots__ = ["generations", "kept", "not_kept"]
    GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    NOT_KEPT_FIELD_NUMBER: _ClassVar[int]
    generations: _containers.RepeatedCompositeFieldContainer[Generation]
    kept: bool
    not_kept: str
    def __init__(self, generations: _Optional[_Iterable[_Union[Generation, _Mapping]]] = ..., kept: bool = ..., not_kept: _Optional[str] = ...) -> None: ...

class VerifiedCopy(_message.Message):
    __slots__ = ["bytes", "damaged_tensor_count", "damaged_tensors", "device", "generation_id", "tensors"]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_TENSORS_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_TENSOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    damaged_tensor_count: int
    damaged_tensors: _containers.RepeatedScalarFieldContainer[str]
    device: str
    generation_id: int
    tensors: int
    def __init__(self, generation_id: _Optional[int] = ..., device: _Optional[str] = ..., tensors: _Optional[int] = ..., bytes: _Optional[int] = ..., damaged_tensors: _Optional[_Iterable[str]] = ..., damaged_tensor_count: _Optional[int] = ...) -> None: ...

class VerifyModelRequest(_message.Message):
    __slots__ = ["bytes_per_second_max", "device", "model"]
    BYTES_PER_SECOND_MAX_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    bytes_per_second_max: int
    device: str
    model: str
    def __init__(self, model: _Optional[str] = ..., device: _Optional[str] = ..., bytes_per_second_max: _Optional[int] = ...) -> None: ...

class VerifyModelResponse(_message.Message):
    __slots__ = ["copies"]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    copies: _containers.RepeatedCompositeFieldContainer[VerifiedCopy]
    def __init__(self, copies: _Optional[_Iterable[_Union[VerifiedCopy, _Mapping]]] = ...) -> None: ...

class VolumeStatus(_message.Message):
    __slots__ = ["bytes_stuck", "kind", "problem", "queued", "reads_stuck", "reads_stuck_at", "reads_stuck_since", "reason", "root", "scan_time", "stuck", "stuck_since", "stuck_what", "threads_stuck"]
    BYTES_STUCK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    READS_STUCK_AT_FIELD_NUMBER: _ClassVar[int]
    READS_STUCK_FIELD_NUMBER: _ClassVar[int]
    READS_STUCK_SINCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    SCAN_TIME_FIELD_NUMBER: _ClassVar[int]
    STUCK_FIELD_NUMBER: _ClassVar[int]
    STUCK_SINCE_FIELD_NUMBER: _ClassVar[int]
    STUCK_WHAT_FIELD_NUMBER: _ClassVar[int]
    THREADS_STUCK_FIELD_NUMBER: _ClassVar[int]
    bytes_stuck: int
    kind: str
    problem: str
    queued: int
    reads_stuck: int
    reads_stuck_at: str
    reads_stuck_since: _timestamp_pb2.Timestamp
    reason: str
    root: str
    scan_time: _timestamp_pb2.Timestamp
    stuck: _containers.RepeatedCompositeFieldContainer[StuckCall]
    stuck_since: _timestamp_pb2.Timestamp
    stuck_what: str
    threads_stuck: int
    def __init__(self, root: _Optional[str] = ..., kind: _Optional[str] = ..., problem: _Optional[str] = ..., reason: _Optional[str] = ..., scan_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., threads_stuck: _Optional[int] = ..., stuck_since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., stuck_what: _Optional[str] = ..., queued: _Optional[int] = ..., reads_stuck: _Optional[int] = ..., bytes_stuck: _Optional[int] = ..., reads_stuck_since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., reads_stuck_at: _Optional[str] = ..., stuck: _Optional[_Iterable[_Union[StuckCall, _Mapping]]] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ["reason", "text"]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    text: str
    def __init__(self, reason: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ["replay"]
    REPLAY_FIELD_NUMBER: _ClassVar[int]
    replay: int
    def __init__(self, replay: _Optional[int] = ...) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ["event"]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: Event
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class WatchModelsRequest(_message.Message):
    __slots__ = ["model"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class WatchModelsResponse(_message.Message):
    __slots__ = ["models", "more"]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    more: bool
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., more: bool = ...) -> None: ...

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class VerifyMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class TensorKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class Tier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class ResidencyState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class StagePhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class AttachPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class PreloadState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

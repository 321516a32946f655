"""A FUSE file system of checkpoints that stops answering: what it has read from the kernel and keeps is what a dead
server keeps. Standard library only; as root, with /dev/fuse.

  python3 hung_fuse.py DIRECTORY    mounts it there until it is interrupted (lease_bench --hung-root)"""

import ctypes
import json
import os
import signal
import struct
import sys
import threading

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, INIT = 1, 2, 3, 14, 15, 17, 18, 26
FLUSH, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 25, 27, 28, 29, 36, 42
ENOENT, ENOSYS = 2, 38
HEADER_BYTES = 4096
MNT_FORCE_DETACH = 3


class HungFuse:
    """`count` models of one file, `bytes_each` of zeros behind a header. Reads behind the header are never answered;
    from hang() on nothing is."""

    def __init__(self, point, count, bytes_each=1 << 20):
        self.point = point
        self.names = [f"h{i:02}.safetensors" for i in range(count)]
        self.size = HEADER_BYTES + bytes_each
        header = json.dumps({"w": {"dtype": "U8", "shape": [bytes_each], "data_offsets": [0, bytes_each]}}).encode()
        header += b" " * (HEADER_BYTES - 8 - len(header))
        self.header = struct.pack("<Q", len(header)) + header
        self.hangs = False
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self.libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if self.libc.mount(b"weightd-drain", point.encode(), b"fuse", 0, options) != 0:
            raise OSError(ctypes.get_errno(), "mount fuse")
        threading.Thread(target=self._serve, daemon=True).start()

    def hang(self):
        self.hangs = True

    def close(self):
        """Whatever waits gets an error."""
        self.libc.umount2(self.point.encode(), MNT_FORCE_DETACH)
        os.close(self.fd)

    def _reply(self, unique, payload=b"", error=0):
        try:
            os.write(self.fd, struct.pack("<IiQ", 16 + len(payload), -error, unique) + payload)
        except OSError:
            pass  # the request was interrupted, or the end has come

    def _attributes(self, node):
        mode, size, links = (0o40755, 0, 2) if node == 1 else (0o100644, self.size, 1)
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512 + 1, 1, 1, 1, 0, 0, 0, mode, links, 0, 0, 0,
                           4096, 0)

    def _entries(self, offset):
        out = b""
        for i, name in enumerate(self.names, 1):
            if i <= offset:
                continue
            encoded = name.encode()
            entry = struct.pack("<QQII", i + 1, i, len(encoded), 8) + encoded
            out += entry + b"\0" * (-len(entry) % 8)
        return out

    def _serve(self):
        while True:
            try:
                request = os.read(self.fd, 1 << 20)
            except OSError:
                return
            _, op, unique, node = struct.unpack("<IIQQ", request[:24])
            if op in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            if op == INIT:
                self._reply(unique, struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, 0, 12, 10, 65536, 1, 16, 0, 0, *[0] * 7))
            elif not self.hangs:
                self._answer(op, unique, node, request[40:])

    def _answer(self, op, unique, node, body):
        if op == LOOKUP:
            name = body.split(b"\0")[0].decode()
            if name not in self.names:
                return self._reply(unique, error=ENOENT)
            found = self.names.index(name) + 2
            return self._reply(unique, struct.pack("<QQQQII", found, 0, 0, 0, 0, 0) + self._attributes(found))
        if op == GETATTR:
            return self._reply(unique, struct.pack("<QII", 0, 0, 0) + self._attributes(node))
        if op in (OPEN, OPENDIR):
            return self._reply(unique, struct.pack("<QII", node, 0, 0))
        if op == READ:
            offset, size = struct.unpack("<QI", body[8:20])
            if offset + size > HEADER_BYTES and offset >= HEADER_BYTES:
                return None  # never
            part = self.header[offset:offset + size]
            return self._reply(unique, part + b"\0" * (min(size, self.size - offset) - len(part)))
        if op == READDIR:
            return self._reply(unique, self._entries(struct.unpack("<Q", body[8:16])[0]))
        if op == STATFS:
            return self._reply(unique, struct.pack("<QQQQQIIII24x", 1 << 20, 0, 0, 1 << 20, 0, 4096, 255, 4096, 0))
        if op in (RELEASE, RELEASEDIR, FLUSH):
            return self._reply(unique)
        return self._reply(unique, error=ENOSYS)


def main():
    os.makedirs(sys.argv[1], exist_ok=True)
    fuse = HungFuse(sys.argv[1], count=8)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: None)
    print("mounted", flush=True)
    signal.pause()
    fuse.close()


if __name__ == "__main__":
    main()

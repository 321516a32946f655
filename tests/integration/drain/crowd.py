"""Many calls over few connections: HTTP/2 in as many lines as a crowd needs. Calls are begun and never waited for."""

import socket
import struct
import threading

SERVICE = "/weightd.v1.WeightCache/"
DATA, SETTINGS, PING, WINDOW_UPDATE, HEADERS = 0, 4, 6, 8, 1
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def text(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value.encode()


def number(field, value):
    return varint(field << 3) + varint(value)


def attach_request(model, wait):
    return text(1, model) + (number(4, 2) if wait else b"")


def frame(kind, flags, stream, payload):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def literal(name, value):
    out = b"\0"
    for part in (name, value):
        out += (bytes([len(part)]) if len(part) < 127 else b"\x7f" + varint(len(part) - 127)) + part.encode()
    return out


def call_head(method):
    return (b"\x83\x86" + literal(":path", SERVICE + method) + literal(":authority", "weightd") +
            literal("content-type", "application/grpc") + literal("te", "trailers"))


class Connection:
    """Read by a thread that throws away what comes, or by nobody."""

    def __init__(self, path, read):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(path)
        self.lock = threading.Lock()
        self.next = 1
        self.received = 0
        largest = (1 << 31) - 1
        window = largest if read else 1024
        self._send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack("!HIHI", 1, 0, 4, window)) +
                   frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", largest - 65535)))
        if read:
            threading.Thread(target=self._read, daemon=True).start()

    def call(self, method, message, times=1):
        """Begins the call `times` times; False when the connection is over, or full."""
        head = call_head(method)
        body = b"\0" + struct.pack("!I", len(message)) + message
        out = b""
        for _ in range(times):
            out += frame(HEADERS, END_HEADERS, self.next, head) + frame(DATA, END_STREAM, self.next, body)
            self.next += 2
        return self._send(out)

    def _send(self, data):
        try:
            with self.lock:
                self.sock.sendall(data)
            return True
        except OSError:
            return False

    def _read(self):
        buffer = b""
        try:
            while True:
                part = self.sock.recv(1 << 18)
                if not part:
                    return
                self.received += len(part)
                buffer += part
                at = 0
                while len(buffer) - at >= 9:
                    size = int.from_bytes(buffer[at:at + 3], "big")
                    if len(buffer) - at < 9 + size:
                        break
                    kind, flags = buffer[at + 3], buffer[at + 4]
                    if kind in (SETTINGS, PING) and not flags & ACK:
                        answer = buffer[at + 9:at + 9 + size] if kind == PING else b""
                        self._send(frame(kind, ACK, 0, answer))
                    at += 9 + size
                buffer = buffer[at:]
        except OSError:
            return

    def close(self):
        self.sock.close()

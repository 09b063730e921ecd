"""A client of HTTP/2 that sees every frame: the `h2` library of Python, which refuses whatever the standard forbids.

    h2_peer.py PORT [--tls]     the cases, one after the other

Behind the proxy is app.js. Prints a line for each case; ends with 1 at the first that fails. A drain is not among them: for
this library a connection is closed with the first GOAWAY, though answers are still to come (RFC 9113 §6.8).
"""

import os
import socket
import ssl
import sys
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

PATIENCE = 20


class Client:
    def __init__(self, port, tls=False, settings=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
            assert self.socket.selected_alpn_protocol() == "h2"
        self.scheme = "https" if tls else "http"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        if settings:
            self.h2.update_settings(settings)
        self.h2.initiate_connection()
        self.answers, self.events, self.hold = {}, [], False
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.socket.sendall(data)

    def begin(self, path, method="GET", body=None, fields=(), end=True):
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", self.scheme), (":authority", "h2.test"), (":path", path), *fields]
        self.h2.send_headers(stream, head, end_stream=end and body is None)
        self.answers[stream] = {"status": None, "body": b"", "ended": False, "reset": None}
        self.flush()
        return stream

    def upload(self, stream, body, trailers=None):
        """As the server's windows allow."""
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.read()
                continue
            self.h2.send_data(stream, body[:room], end_stream=not trailers and len(body) <= room)
            body = body[room:]
            self.flush()
        if trailers:
            self.h2.send_headers(stream, trailers, end_stream=True)
            self.flush()

    def read(self):
        data = self.socket.recv(65536)
        assert data, "the connection was closed"
        for event in self.h2.receive_data(data):
            self.events.append(event)
            answer = self.answers.get(getattr(event, "stream_id", None))
            if isinstance(event, h2.events.ResponseReceived):
                answer["status"] = int(dict(event.headers)[":status"])
                answer["fields"] = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                answer["body"] += event.data
                if not self.hold:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                answer["ended"] = True
            elif isinstance(event, h2.events.StreamReset):
                answer["reset"] = event.error_code
        self.flush()

    def wait(self, what, done):
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end, f"{what}: not within {PATIENCE} s"
            self.read()

    def finish(self, *streams):
        for stream in streams:
            answer = self.answers[stream]
            self.wait(f"stream {stream}", lambda answer=answer: answer["ended"] or answer["reset"] is not None)
            assert answer["reset"] is None, f"stream {stream} was reset: {answer['reset']}"
            assert answer["status"] == 200, answer["status"]
        return [self.answers[stream] for stream in streams]

    def saw(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def interleaved(client):
    """Many streams at once; each answer is its own request's."""
    streams = [client.begin("/echo", "POST", body=b"x") for _ in range(50)]
    for number, stream in enumerate(streams):
        client.upload(stream, f"stream {number}".encode())
    for number, answer in enumerate(client.finish(*streams)):
        assert answer["body"] == f"stream {number}".encode(), answer


def large_upload(client):
    """A megabyte up and down, within the windows of both sides, with trailers at its end."""
    body = os.urandom(1 << 20)
    stream = client.begin("/echo", "POST", body=body)
    client.upload(stream, body, trailers=[("x-trailer", "1")])
    (answer,) = client.finish(stream)
    assert answer["body"] == body, f"{len(answer['body'])} bytes came back"


def one_does_not_read(client):
    """Who does not open its window holds up its own stream, to the byte, and no other one."""
    # There is room on the connection, so that only the stream's own window stops it.
    client.h2.increment_flow_control_window(1 << 20)
    client.hold = True
    body = os.urandom(200_000)
    slow = client.begin("/echo", "POST", body=body)
    client.upload(slow, body)
    window = client.h2.local_settings.initial_window_size
    client.wait("a full window", lambda: len(client.answers[slow]["body"]) >= window)
    client.hold = False
    client.finish(client.begin("/"))
    assert len(client.answers[slow]["body"]) == window and not client.answers[slow]["ended"]
    client.h2.increment_flow_control_window(len(body), slow)
    client.flush()
    (answer,) = client.finish(slow)
    assert answer["body"] == body


def continuation(client):
    """A head of several frames."""
    fields = [(f"x-part-{number}", "v" * 900) for number in range(40)]
    (answer,) = client.finish(client.begin("/headers", fields=fields))
    assert answer["body"].count(b"x-part-") == 40


def ping(client):
    client.h2.ping(b"outriggr")
    client.flush()
    client.wait("the answer to a ping", lambda: client.saw(h2.events.PingAckReceived))
    assert client.saw(h2.events.PingAckReceived)[-1].ping_data == b"outriggr"


def reset(client):
    """A stream that its client gives up; the others go on."""
    gone, stays = client.begin("/events"), client.begin("/events")
    client.wait("both heads", lambda: client.answers[gone]["status"] and client.answers[stays]["status"])
    client.h2.reset_stream(gone, h2.errors.ErrorCodes.CANCEL)
    client.flush()
    (answer,) = client.finish(stays)
    assert answer["body"].count(b"data: ") == 5


def settings(client):
    """New settings are acknowledged, and hold: smaller frames are not sent than those allowed, nor larger ones."""
    client.h2.update_settings({h2.settings.SettingCodes.MAX_FRAME_SIZE: 32_768, h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0})
    client.flush()
    before = len(client.saw(h2.events.SettingsAcknowledged))
    client.wait("an acknowledgement", lambda: len(client.saw(h2.events.SettingsAcknowledged)) > before)
    large_upload(client)


def half_closed(client):
    """An answer that is complete before its request is; the rest may be declined, without an error (RFC 9113 §8.1)."""
    stream = client.begin("/none", "POST", end=False)
    answer = client.answers[stream]
    client.wait("an answer", lambda: answer["ended"])
    assert answer["status"] == 404, answer
    client.finish(client.begin("/"))
    assert answer["reset"] in (None, h2.errors.ErrorCodes.NO_ERROR), answer


def talk(port, tls):
    client = Client(port, tls)
    for case in (interleaved, large_upload, one_does_not_read, continuation, ping, reset, half_closed, settings):
        case(client)
        print(f"{case.__name__}")
    assert not client.saw(h2.events.ConnectionTerminated), "the connection was told to end"


talk(int(sys.argv[1]), "--tls" in sys.argv)

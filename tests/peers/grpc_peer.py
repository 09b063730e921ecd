"""A gRPC server and a client of it, both of the real grpcio, for check-grpc.sh.

    grpc_peer.py server PORT                      serves until it is killed; SIGUSR1 ends it with streams under way
    grpc_peer.py client PORT                      every kind of call; says what it has seen, fails at the first surprise
    grpc_peer.py errors PORT                      what the proxy itself answers (see the configuration in check-grpc.sh)

The messages are bytes without a schema, so nothing has to be generated.
"""

import os
import signal
import sys
import threading
import time
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "peers.Echo"
BIG = 10 * 1024 * 1024
# Both ends must take 10 MiB; the default is 4.
OPTIONS = [("grpc.max_receive_message_length", 2 * BIG), ("grpc.max_send_message_length", 2 * BIG)]

cancelled = threading.Event()


def unary(request, context):
    context.send_initial_metadata((("x-first", "1"), ("x-first-bin", b"\x00\xff\x01")))
    sent = dict(context.invocation_metadata())
    context.set_trailing_metadata((("x-echo", sent.get("x-ask", "")), ("x-echo-bin", sent.get("x-ask-bin", b""))))
    return request


def fail(request, context):
    code = next(code for code in grpc.StatusCode if code.name == request.decode())
    context.abort(code, "grün: 100 % \t\n wrong")


def late_fail(request, context):
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.ABORTED, "after two messages")


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def slow(request, context):
    left = context.time_remaining()
    yield str(left).encode()
    while context.is_active():
        time.sleep(0.02)
    cancelled.set()


def was_cancelled(request, context):
    seen = cancelled.wait(5)
    cancelled.clear()
    return str(seen).encode()


def total(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def talk(requests, context):
    for request in requests:
        yield request.upper()


def serve(port):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=OPTIONS)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
        "LateFail": grpc.unary_stream_rpc_method_handler(late_fail),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Slow": grpc.unary_stream_rpc_method_handler(slow),
        "Total": grpc.stream_unary_rpc_method_handler(total),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    servicer.set("down", health_pb2.HealthCheckResponse.NOT_SERVING)
    names = (health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    if server.add_insecure_port(f"127.0.0.1:{port}") != port:
        sys.exit(f"port {port} is taken")
    server.start()
    print("serving", flush=True)
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))
    server.wait_for_termination()


def expect(what, condition, seen=""):
    if not condition:
        sys.exit(f"{what}: {seen}")


def code_of(what, call):
    """The status of a call that has to fail."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details() or "", dict(error.trailing_metadata() or ())
    sys.exit(f"{what}: it should have failed")


class Echo:
    def __init__(self, port):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS)

    def unary(self, method, request=b"", **more):
        return self.channel.unary_unary(f"/{SERVICE}/{method}").with_call(request, timeout=more.pop("timeout", 20), **more)

    def stream(self, method, request=b"", timeout=20):
        return self.channel.unary_stream(f"/{SERVICE}/{method}")(request, timeout=timeout)


def calls(echo):
    answer, _ = echo.unary("Unary", b"hello")
    expect("unary", answer == b"hello", answer)
    answer, _ = echo.unary("Unary", b"")
    expect("an empty message", answer == b"", answer)
    big = os.urandom(BIG)
    answer, _ = echo.unary("Unary", big)
    expect("10 MiB both ways", answer == big, len(answer))
    numbers = [int(message) for message in echo.stream("Count", b"1000")]
    expect("1000 messages down", numbers == list(range(1000)), len(numbers))
    answer = echo.channel.stream_unary(f"/{SERVICE}/Total")(iter([b"x" * 1000] * 1000), timeout=20)
    expect("1000 messages up", answer == b"1000000", answer)
    # Each message waits for the answer to the one before: nothing may be held back.
    heard = threading.Semaphore(1)

    def words():
        for number in range(50):
            heard.acquire()
            yield f"word {number}".encode()

    for number, message in enumerate(echo.channel.stream_stream(f"/{SERVICE}/Talk")(words(), timeout=20)):
        expect("talk", message == f"WORD {number}".encode(), message)
        heard.release()
    expect("talk", number == 49, number)
    print("unary, empty, 10 MiB, 1000 down, 1000 up, 50 in turn")


def metadata(echo):
    asked = (("x-ask", "a, b; c"), ("x-ask-bin", bytes(range(256))))
    _, call = echo.unary("Unary", b"", metadata=asked)
    first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
    expect("initial metadata", first["x-first"] == "1" and first["x-first-bin"] == b"\x00\xff\x01", first)
    expect("trailing metadata", last["x-echo"] == "a, b; c" and last["x-echo-bin"] == bytes(range(256)), last)
    print("metadata both ways, also binary")


def statuses(echo):
    for code in grpc.StatusCode:
        if code is grpc.StatusCode.OK:
            continue
        seen, details, _ = code_of(code.name, lambda: echo.unary("Fail", code.name.encode()))
        expect(code.name, seen is code, seen)
        expect(code.name, details == "grün: 100 % \t\n wrong", repr(details))
    messages = []
    seen, details, _ = code_of("late", lambda: messages.extend(echo.stream("LateFail")))
    expect("a late failure", messages == [b"one", b"two"] and seen is grpc.StatusCode.ABORTED, (messages, seen))
    seen, _, _ = code_of("no method", lambda: echo.unary("None"))
    expect("a method that is not there", seen is grpc.StatusCode.UNIMPLEMENTED, seen)
    print("16 statuses with their messages, one after two messages, an unknown method")


def learns(echo):
    """Each question waits for 5 s; a busy machine may need more than one."""
    return any(echo.unary("WasCancelled")[0] == b"True" for _ in range(6))


def endings(echo):
    call = echo.stream("Slow", timeout=0.6)
    left = float(next(call))
    expect("the deadline as the server knows it", 0 < left < 0.7, left)
    seen, _, _ = code_of("deadline", lambda: next(call))
    expect("a deadline", seen is grpc.StatusCode.DEADLINE_EXCEEDED, seen)
    expect("the server learns of it", learns(echo))
    call = echo.stream("Slow")
    next(call)
    call.cancel()
    seen, _, _ = code_of("cancel", lambda: next(call))
    expect("a cancellation", seen is grpc.StatusCode.CANCELLED, seen)
    expect("the server learns of it", learns(echo))
    print("deadline and cancellation, seen by both sides")


def services(echo):
    stub = health_pb2_grpc.HealthStub(echo.channel)
    status = stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=20).status
    expect("health", status == health_pb2.HealthCheckResponse.SERVING, status)
    status = next(stub.Watch(health_pb2.HealthCheckRequest(service="down"), timeout=20)).status
    expect("health, watched", status == health_pb2.HealthCheckResponse.NOT_SERVING, status)
    names = ProtoReflectionDescriptorDatabase(echo.channel).get_services()
    expect("reflection", "grpc.health.v1.Health" in names, names)
    print("health service, reflection")


def many(echo):
    call = echo.channel.unary_unary(f"/{SERVICE}/Unary")
    under_way = [call.future(str(number).encode(), timeout=20) for number in range(500)]
    answers = [future.result() for future in under_way]
    expect("500 at once", answers == [str(number).encode() for number in range(500)], len(answers))
    print("500 calls at once on one connection")


def errors(port):
    """The routes of the configuration in check-grpc.sh, by the first word of the service."""
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def call(service):
        return lambda: channel.unary_unary(f"/{service}/Do")(b"", timeout=20)

    for service, code, words in [
        ("nowhere.Service", grpc.StatusCode.UNIMPLEMENTED, "no route of listener"),
        ("dead.Service", grpc.StatusCode.UNAVAILABLE, "refused"),
        ("stuck.Service", grpc.StatusCode.DEADLINE_EXCEEDED, "per_try_timeout"),
    ]:
        seen, details, trailers = code_of(service, call(service))
        expect(service, seen is code and words in details, (seen, details))
        expect(service, "proxy-status" in trailers, trailers)
    channel.unary_unary("/peers.Echo/Unary")(b"", timeout=20)
    seen, details, trailers = code_of("limited", call("peers.Echo"))
    expect("limited", seen is grpc.StatusCode.RESOURCE_EXHAUSTED and "rate_limit" in details, (seen, details))
    expect("limited", 0 < int(trailers["grpc-retry-pushback-ms"]) <= 3_600_000, trailers)
    print("UNIMPLEMENTED, UNAVAILABLE, DEADLINE_EXCEEDED and RESOURCE_EXHAUSTED, each with its reason")


def broken(port, pid):
    """The server goes away in the middle of a stream."""
    echo = Echo(port)
    call = echo.stream("Slow")
    next(call)
    os.kill(pid, signal.SIGUSR1)
    seen, details, _ = code_of("broken", lambda: next(call))
    expect("a server that goes away", seen is grpc.StatusCode.UNAVAILABLE, (seen, details))
    print(f"a server that goes away in the middle: UNAVAILABLE, {details!r}")


def main():
    port = int(sys.argv[2])
    if sys.argv[1] == "server":
        serve(port)
    elif sys.argv[1] == "errors":
        errors(port)
    elif sys.argv[1] == "broken":
        broken(port, int(sys.argv[3]))
    else:
        echo = Echo(port)
        for part in [calls, metadata, statuses, endings, services, many]:
            part(echo)


main()

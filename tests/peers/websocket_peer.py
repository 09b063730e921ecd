"""A WebSocket server and a client of it, both of the real `websockets` library, for check-websocket.sh.

    websocket_peer.py server PORT
    websocket_peer.py client PORT          says what it has seen, fails at the first surprise
    websocket_peer.py idle PORT SECONDS    a connection in which nothing moves has to end in about that time
    websocket_peer.py drain PORT PID       the proxy is told to stop while a connection talks
"""

import asyncio
import http
import os
import signal
import sys
import time

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

BIG = 64 * 1024 * 1024
LIMITS = {"max_size": 2 * BIG, "ping_interval": None, "open_timeout": 20, "close_timeout": 10}
ASKED = {**LIMITS, "subprotocols": ["chat.v1", "chat.v2"]}

closed = {}


async def handle(socket):
    path = socket.request.path
    if path.startswith("/close/"):
        await socket.close(int(path.rsplit("/", 1)[1]), "grün")
        return
    if path == "/hello":
        # Sent in one write with the answer to the handshake, or as near as can be.
        await socket.send("hello")
    if path == "/fragments":
        message = await socket.recv()
        await socket.send(message[at : at + 1000] for at in range(0, len(message), 1000))
        return
    if path == "/closed":
        for _ in range(200):
            if closed:
                break
            await asyncio.sleep(0.01)
        await socket.send(repr(sorted(closed.items())))
        closed.clear()
        return
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed:
        pass
    if path == "/tell":
        closed[socket.close_code] = socket.close_reason


def refuse(connection, request):
    if request.path == "/refused":
        return connection.respond(http.HTTPStatus.FORBIDDEN, "not you\n")


async def server(port):
    async with serve(handle, "127.0.0.1", port, process_request=refuse, subprotocols=["chat.v2"], **LIMITS) as running:
        print("serving", flush=True)
        await running.serve_forever()


def expect(what, condition, seen=""):
    if not condition:
        sys.exit(f"{what}: {seen}")


async def messages(url):
    async with connect(url + "/", **ASKED) as socket:
        expect("the subprotocol", socket.subprotocol == "chat.v2", socket.subprotocol)
        for message in ["", "hello", "grün ☃", b"", bytes(range(256)), "x" * 70000, b"y" * 70000]:
            await socket.send(message)
            answer = await socket.recv()
            expect("a message", answer == message, answer[:50])
    async with connect(url + "/hello", **ASKED) as socket:
        expect("the server speaks first", await socket.recv() == "hello")
    print("text and binary messages, a subprotocol, a server that speaks first")


async def fragments(url):
    parts = [f"part {number} ".encode() for number in range(500)]
    async with connect(url + "/", **ASKED) as socket:
        await socket.send(parts)
        answer = await socket.recv()
        expect("fragments up", answer == b"".join(parts), len(answer))
    message = os.urandom(50_500)
    async with connect(url + "/fragments", compression=None, **ASKED) as socket:
        await socket.send(message)
        seen = [part async for part in socket.recv_streaming()]
        expect("fragments down", len(seen) >= 51 and b"".join(seen) == message, len(seen))
    print("500 fragments up, 51 down")


async def big(url):
    for name, message, compression in [
        ("plain", os.urandom(BIG), None),
        ("deflated", os.urandom(1 << 20) * 64, "deflate"),
    ]:
        async with connect(url + "/", compression=compression, **ASKED) as socket:
            deflates = "permessage-deflate" in socket.response.headers.get("Sec-WebSocket-Extensions", "")
            expect("permessage-deflate", deflates == (compression is not None), socket.response.headers)
            sending = asyncio.ensure_future(socket.send(message))
            answer = await asyncio.wait_for(socket.recv(), 60)
            await sending
            expect(f"64 MiB, {name}", answer == message, len(answer))
    print("64 MiB both ways, plain and with permessage-deflate")


async def pings(url):
    async with connect(url + "/", **ASKED) as socket:
        for size in [0, 4, 125]:
            await asyncio.wait_for(await socket.ping(os.urandom(size)), 5)
        await socket.pong(b"unasked")
        await socket.send("still here")
        expect("after pings", await socket.recv() == "still here")
    print("ping and pong")


async def closes(url):
    for code in [1000, 1001, 1011, 3000, 4999]:
        async with connect(f"{url}/close/{code}", **ASKED) as socket:
            try:
                await socket.recv()
                sys.exit("it should be closed")
            except ConnectionClosed as end:
                expect("the server's close", (end.rcvd.code, end.rcvd.reason) == (code, "grün"), end)
    socket = await connect(url + "/tell", **ASKED)
    await socket.close(4321, "enough")
    async with connect(url + "/closed", **ASKED) as asking:
        told = await asking.recv()
        expect("the client's close", told == "[(4321, 'enough')]", told)
    socket = await connect(url + "/tell", **ASKED)
    socket.transport.abort()
    async with connect(url + "/closed", **ASKED) as asking:
        told = await asking.recv()
        expect("a client that is cut", told == "[(<CloseCode.ABNORMAL_CLOSURE: 1006>, '')]", told)
    print("close codes and reasons both ways, a client that is cut")


async def refusals(url):
    try:
        await connect(url + "/refused", **ASKED)
        sys.exit("it should be refused")
    except InvalidStatus as refused:
        expect("a refusal", refused.response.status_code == 403 and refused.response.body == b"not you\n", refused)
    print("a refused handshake")


async def many(url):
    async def one(number):
        async with connect(url + "/", **ASKED) as socket:
            for turn in range(20):
                await socket.send(f"{number}.{turn}")
                expect("many", await socket.recv() == f"{number}.{turn}")

    await asyncio.gather(*(one(number) for number in range(100)))
    print("100 at once")


async def idle(url, seconds):
    async with connect(url + "/", **ASKED) as socket:
        begun = time.monotonic()
        # Pings keep it open for longer than that.
        while time.monotonic() < begun + 1.5 * seconds:
            await asyncio.wait_for(await socket.ping(), 5)
            await asyncio.sleep(seconds / 4)
        begun = time.monotonic()
        try:
            await asyncio.wait_for(socket.recv(), 4 * seconds + 5)
        except ConnectionClosed:
            elapsed = time.monotonic() - begun
            expect("idle", 0.6 * seconds < elapsed < 4 * seconds, elapsed)
            print(f"pings keep it open, silence ends it after {elapsed:.1f} s of {seconds} s")
            return
    sys.exit("it should be closed")


async def drain(url, pid):
    async with connect(url + "/", **ASKED) as socket:
        await socket.send("before")
        expect("before", await socket.recv() == "before")
        os.kill(pid, signal.SIGTERM)
        for number in range(10):
            await asyncio.sleep(0.05)
            await socket.send(f"{number}")
            expect("while it drains", await socket.recv() == f"{number}")
    print("a drain waits for a connection that talks")


async def client(url):
    for part in [messages, fragments, big, pings, closes, refusals, many]:
        await part(url)


def main():
    mode, port = sys.argv[1], int(sys.argv[2])
    url = f"ws://127.0.0.1:{port}"
    if mode == "server":
        asyncio.run(server(port))
    elif mode == "idle":
        asyncio.run(idle(url, float(sys.argv[3])))
    elif mode == "drain":
        asyncio.run(drain(url, int(sys.argv[3])))
    else:
        asyncio.run(client(url))


main()

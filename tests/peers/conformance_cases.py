"""What is sent: malformed and odd requests, each on a connection of its own.

A case is (group, name, bytes) for HTTP/1, or (group, name, [frames]) for HTTP/2; see `conformance.py`.
"""

HOST = b"Host: a\r\n"


def get(target=b"/", fields=HOST, version=b"HTTP/1.1"):
    return b"GET " + target + b" " + version + b"\r\n" + fields + b"\r\n"


def post(fields, body=b"", version=b"HTTP/1.1"):
    return b"POST / " + version + b"\r\n" + HOST + fields + b"\r\n" + body


NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"


def chunks(body):
    return post(CHUNKED, body)


def field(line):
    return get(fields=HOST + line + b"\r\n")


HTTP1 = [
    ("well-formed", "a GET", get()),
    ("well-formed", "two GETs at once", get() + NEXT),
    ("well-formed", "a length and a body", post(b"Content-Length: 3\r\n", b"abc")),
    ("well-formed", "chunks with an extension and a trailer", chunks(b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n") + NEXT),
    ("well-formed", "HTTP/1.0 without `Host`", get(fields=b"", version=b"HTTP/1.0")),
    ("well-formed", "an empty line before the request", b"\r\n" + get()),
    ("well-formed", "`OPTIONS *`", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("well-formed", "absolute form, the same host", get(b"http://a/x")),
    ("request line", "absolute form, another host", get(b"http://b/x")),
    ("request line", "absolute form with a user", get(b"http://u:p@a/x")),
    ("request line", "absolute form of another scheme", get(b"ftp://a/x")),
    ("request line", "authority form with GET", get(b"a:80")),
    ("request line", "`CONNECT`", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    ("request line", "`GET *`", get(b"*")),
    ("request line", "a target without a slash", get(b"x")),
    ("request line", "a fragment", get(b"/x#y")),
    ("request line", "a space in the target", get(b"/a b")),
    ("request line", "two spaces before the version", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("request line", "a tab for a space", b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    ("request line", "a space before the method", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("request line", "NUL in the target", get(b"/a\0b")),
    ("request line", "a bare CR in the target", get(b"/a\rb")),
    ("request line", "bytes beyond ASCII in the target", get(b"/\xc3\xa9")),
    ("request line", "a bad escape", get(b"/%zz")),
    ("request line", "an encoded NUL", get(b"/%00")),
    ("request line", "a method in lower case", b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("request line", "a method that is no token", b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("request line", "no version (HTTP/0.9)", b"GET /\r\n\r\n"),
    ("request line", "HTTP/1.2", get(version=b"HTTP/1.2")),
    ("request line", "HTTP/2.0", get(version=b"HTTP/2.0")),
    ("request line", "HTTP/01.1", get(version=b"HTTP/01.1")),
    ("request line", "`http/1.1`", get(version=b"http/1.1")),
    ("request line", "a target of 70,000 bytes", get(b"/" + b"a" * 70000)),
    ("host", "none", get(fields=b"")),
    ("host", "empty", get(fields=b"Host:\r\n")),
    ("host", "two different ones", get(fields=HOST + b"Host: b\r\n")),
    ("host", "twice the same", get(fields=HOST + HOST)),
    ("host", "a list", get(fields=b"Host: a, b\r\n")),
    ("host", "with a path", get(fields=b"Host: a/b\r\n")),
    ("host", "with a user", get(fields=b"Host: u@a\r\n")),
    ("host", "with a bad port", get(fields=b"Host: a:x\r\n")),
    ("host", "with two ports", get(fields=b"Host: a:1:2\r\n")),
    ("host", "with a space", get(fields=b"Host: a b\r\n")),
    ("host", "beyond ASCII", get(fields=b"Host: \xc3\xa9\r\n")),
    ("header lines", "a space before the colon", field(b"X : y")),
    ("header lines", "a space before the colon of a length", post(b"Content-Length : 3\r\n", b"abc")),
    ("header lines", "a folded line", field(b"X: y\r\n z")),
    ("header lines", "a folded line, first of all", get(fields=b" X: y\r\n" + HOST)),
    ("header lines", "no colon", field(b"nothing")),
    ("header lines", "an empty name", field(b": y")),
    ("header lines", "NUL in a value", field(b"X: a\0b")),
    ("header lines", "NUL in a name", field(b"X\0: y")),
    ("header lines", "a bare CR in a value", field(b"X: a\rb")),
    ("header lines", "a control character in a value", field(b"X: a\x01b")),
    ("header lines", "a name beyond ASCII", field(b"X\xc3\xa9: y")),
    ("header lines", "a value beyond ASCII", field(b"X: \xc3\xa9")),
    ("header lines", "an underscore in a name", field(b"X_Y: z")),
    ("header lines", "LF for every line end", b"GET / HTTP/1.1\nHost: a\n\n"),
    ("header lines", "LF for one line end", b"GET / HTTP/1.1\r\nX: y\nHost: a\r\n\r\n"),
    ("header lines", "CR for a line end", b"GET / HTTP/1.1\r\nX: y\rHost: a\r\n\r\n"),
    ("header lines", "200 lines", get(fields=HOST + b"X: y\r\n" * 200)),
    ("header lines", "a line of 70,000 bytes", field(b"X: " + b"a" * 70000)),
    ("header lines", "`Connection: host, x`", field(b"X: y\r\nConnection: host, x")),
    ("header lines", "`Connection: content-length`", post(b"Content-Length: 3\r\nConnection: content-length\r\n", b"abc")),
    ("length", "no number", post(b"Content-Length: 3x\r\n", b"abc")),
    ("length", "signed", post(b"Content-Length: +3\r\n", b"abc")),
    ("length", "negative", post(b"Content-Length: -3\r\n", b"abc")),
    ("length", "hexadecimal", post(b"Content-Length: 0x3\r\n", b"abc")),
    ("length", "empty", post(b"Content-Length:\r\n")),
    ("length", "with a point", post(b"Content-Length: 3.0\r\n", b"abc")),
    ("length", "2^64 + 3", post(b"Content-Length: 18446744073709551619\r\n", b"abc")),
    ("length", "two equal ones", post(b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc")),
    ("length", "two different ones", post(b"Content-Length: 3\r\nContent-Length: 4\r\n", b"abc")),
    ("length", "a list of equal ones", post(b"Content-Length: 3, 3\r\n", b"abc")),
    ("length", "too short, and a request behind", post(b"Content-Length: 3\r\n", b"abcdef") + NEXT),
    ("length", "of a GET with a body", get(fields=HOST + b"Content-Length: 3\r\n") + b"abc"),
    ("coding", "with a length before", post(b"Content-Length: 4\r\n" + CHUNKED, END) + NEXT),
    ("coding", "with a length behind", post(CHUNKED + b"Content-Length: 4\r\n", END) + NEXT),
    ("coding", "in HTTP/1.0", post(CHUNKED, END, b"HTTP/1.0")),
    ("coding", "unknown", post(b"Transfer-Encoding: cow\r\n", END)),
    ("coding", "`identity`", post(b"Transfer-Encoding: identity\r\n", END)),
    ("coding", "`gzip, chunked`", post(b"Transfer-Encoding: gzip, chunked\r\n", END)),
    ("coding", "`chunked, gzip`", post(b"Transfer-Encoding: chunked, gzip\r\n", END)),
    ("coding", "`chunked, chunked`", post(b"Transfer-Encoding: chunked, chunked\r\n", END)),
    ("coding", "twice", post(CHUNKED + CHUNKED, END)),
    ("coding", "twice, `identity` last", post(CHUNKED + b"Transfer-Encoding: identity\r\n", END)),
    ("coding", "in capitals", post(b"TRANSFER-ENCODING: CHUNKED\r\n", END)),
    ("coding", "behind a vertical tab", post(b"Transfer-Encoding: \x0bchunked\r\n", END)),
    ("coding", "in quotes", post(b"Transfer-Encoding: \"chunked\"\r\n", END)),
    ("coding", "empty", post(b"Transfer-Encoding:\r\n", END)),
    ("coding", "of a GET", get(fields=HOST + CHUNKED) + END),
    ("chunks", "a size that is no number", chunks(b"zz\r\nabc\r\n" + END)),
    ("chunks", "a signed size", chunks(b"+3\r\nabc\r\n" + END)),
    ("chunks", "a negative size", chunks(b"-3\r\nabc\r\n" + END)),
    ("chunks", "a size with `0x`", chunks(b"0x3\r\nabc\r\n" + END)),
    ("chunks", "a size of 17 digits", chunks(b"10000000000000003\r\nabc\r\n" + END)),
    ("chunks", "a space before the size", chunks(b" 3\r\nabc\r\n" + END)),
    ("chunks", "a space behind the size", chunks(b"3 \r\nabc\r\n" + END)),
    ("chunks", "no size", chunks(b"\r\nabc\r\n" + END)),
    ("chunks", "more data than the size", chunks(b"3\r\nabcd\r\n" + END)),
    ("chunks", "LF behind the size", chunks(b"3\nabc\r\n" + END)),
    ("chunks", "LF behind the data", chunks(b"3\r\nabc\n" + END)),
    ("chunks", "LF in an extension", chunks(b"3;a\nb\r\nabc\r\n" + END)),
    ("chunks", "a bare CR in an extension", chunks(b"3;a\rb\r\nabc\r\n" + END)),
    ("chunks", "LF for the end", chunks(b"3\r\nabc\r\n0\n\n")),
    ("chunks", "a length in the trailer", chunks(b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n") + NEXT),
    ("chunks", "a bad trailer", chunks(b"3\r\nabc\r\n0\r\nbad\r\n\r\n")),
    ("no HTTP", "words", b"hello there\r\n\r\n"),
    ("no HTTP", "zeros", bytes(64)),
    ("no HTTP", "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
]


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def block(fields):
    out = b""
    for name, value in fields:
        out += b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    return out


def h2(*changes, body=None):
    """A GET with fields replaced (same pseudo-field) or added."""
    fields = [[b":method", b"GET"], [b":scheme", b"http"], [b":authority", b"a"], [b":path", b"/"]]
    for name, value in changes:
        known = [f for f in fields if f[0] == name and name.startswith(b":")]
        if known:
            known[0][1] = value
        else:
            fields.append([name, value])
    fields = [f for f in fields if f[1] is not None]
    if body is None:
        return [frame(1, 5, 1, block(fields))]
    return [frame(1, 4, 1, block(fields)), frame(0, 1, 1, body)]


HTTP2 = [
    ("HTTP/2", "a GET", h2()),
    ("HTTP/2", "CR LF in a value", h2((b"x", b"a\r\nhost: b"))),
    ("HTTP/2", "LF in a value", h2((b"x", b"a\nb"))),
    ("HTTP/2", "NUL in a value", h2((b"x", b"a\0b"))),
    ("HTTP/2", "CR LF in a name", h2((b"x\r\nhost", b"b"))),
    ("HTTP/2", "a colon in a name", h2((b"x:y", b"b"))),
    ("HTTP/2", "a space in a name", h2((b"x y", b"b"))),
    ("HTTP/2", "capitals in a name", h2((b"X", b"b"))),
    ("HTTP/2", "CR LF in the method", h2((b":method", b"GET / HTTP/1.1\r\nhost: b\r\n\r\nGET"))),
    ("HTTP/2", "CR LF in the path", h2((b":path", b"/ HTTP/1.1\r\nx: y"))),
    ("HTTP/2", "a space in the path", h2((b":path", b"/a b"))),
    ("HTTP/2", "an empty path", h2((b":path", b""))),
    ("HTTP/2", "a path without a slash", h2((b":path", b"x"))),
    ("HTTP/2", "CR LF in the authority", h2((b":authority", b"a\r\nx: y"))),
    ("HTTP/2", "a path in the authority", h2((b":authority", b"a/b"))),
    ("HTTP/2", "no authority", h2((b":authority", None))),
    ("HTTP/2", "another `host`", h2((b"host", b"b"))),
    ("HTTP/2", "`transfer-encoding: chunked`", h2((b"transfer-encoding", b"chunked"))),
    ("HTTP/2", "`connection: close`", h2((b"connection", b"close"))),
    ("HTTP/2", "a length too large", h2((b":method", b"POST"), (b"content-length", b"5"), body=b"abc")),
    ("HTTP/2", "a length too small", h2((b":method", b"POST"), (b"content-length", b"1"), body=b"abc")),
    ("HTTP/2", "a signed length", h2((b":method", b"POST"), (b"content-length", b"+3"), body=b"abc")),
    ("HTTP/2", "an unknown pseudo-field", h2((b":x", b"y"))),
    ("HTTP/2", "DATA on a stream that is not open", [frame(0, 1, 1, b"abc")]),
]

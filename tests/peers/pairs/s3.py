"""boto3 through the proxy, against a server that checks signatures."""

import hashlib
import io
import os
import ssl
import sys
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

http, https, ca = sys.argv[1:]
MIB = 1024 * 1024
# Characters that a proxy could be tempted to write in another way.
KEYS = ["plain.bin", "a b+c/é~(1)'*!.txt", "percent%41%2F%2e.txt", "colon:semi;at@eq=amp&.txt"]


def client(url, secret="the-secret"):
    return boto3.client("s3", endpoint_url=url, aws_access_key_id="PEERS", aws_secret_access_key=secret,
                        region_name="us-east-1", verify=ca if url.startswith("https") else None,
                        config=Config(signature_version="s3v4", retries={"max_attempts": 1}, s3={"addressing_style": "path"}))


def digest(data):
    return hashlib.sha256(data).hexdigest()


def expect(what, have, want):
    if have != want:
        sys.exit(f"{what}: {have!r}, not {want!r}")


def code(call):
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "success"


seen = set()


def remember(request, **_):
    """What the client really sends."""
    headers = {name.lower(): str(value) for name, value in request.headers.items()}
    for name in ("expect", "content-encoding", "x-amz-content-sha256"):
        if name in headers:
            seen.add(headers[name].strip("b'"))


expect("a wrong secret", code(lambda: client(http, "another").list_buckets()), "SignatureDoesNotMatch")
for url in (http, https):
    s3 = client(url)
    s3.meta.events.register("before-send.s3", remember)
    bucket = "peers-" + ("tls" if url is https else "plain")
    s3.create_bucket(Bucket=bucket)
    for key in KEYS:
        data = os.urandom(3 * MIB)
        s3.put_object(Bucket=bucket, Key=key, Body=io.BytesIO(data), Metadata={"who": "a  b", "empty": ""})
        answer = s3.get_object(Bucket=bucket, Key=key)
        expect(key, digest(answer["Body"].read()), digest(data))
        expect(f"{key}: metadata", answer["Metadata"]["who"].split(), ["a", "b"])
        part = s3.get_object(Bucket=bucket, Key=key, Range="bytes=1000000-1999999")["Body"].read()
        expect(f"{key}: range", digest(part), digest(data[1000000:2000000]))
        link = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
        context = ssl.create_default_context(cafile=ca) if url is https else None
        with urllib.request.urlopen(link, context=context, timeout=30) as answer:
            expect(f"{key}: presigned", digest(answer.read()), digest(data))
    large = os.urandom(21 * MIB)
    s3.upload_fileobj(io.BytesIO(large), bucket, "large", Config=TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4))
    back = io.BytesIO()
    s3.download_fileobj(bucket, "large", back, Config=TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4))
    expect("multipart", digest(back.getvalue()), digest(large))
    listed = [entry["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2}) for entry in page["Contents"]]
    expect("list", sorted(listed), sorted([*KEYS, "large"]))
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in listed]})
    expect("deleted", len(gone["Deleted"]), len(listed))
for habit in ("100-continue", "aws-chunked"):
    if habit not in seen:
        sys.exit(f"the client sent no {habit}, so this did not test it: {sorted(seen)}")
print("SigV4 over odd paths, presigned, multipart 21 MiB by 4, Range, 100-continue, aws-chunked with trailers; a wrong secret is refused")

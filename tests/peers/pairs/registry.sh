# shellcheck shell=bash disable=SC2154,SC2034 # sourced by check-pairs.sh
# skopeo ↔ the reference container registry: blobs uploaded by POST, PATCH and PUT to places that the server names.

registry_needs="docker-registry skopeo"

registry_start() {
    cat >"$work/registry.yaml" <<CONF
version: 0.1
log: { level: warn, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: $work/registry-root } }
http: { addr: 127.0.0.1:$1 }
CONF
    OTEL_TRACES_EXPORTER=none start registry docker-registry serve "$work/registry.yaml"
}

# An image of two layers in OCI's layout.
registry_image() {
    python3 - "$1" <<'PY'
import hashlib, io, json, os, sys, tarfile
root = sys.argv[1]
os.makedirs(root + "/blobs/sha256")
def put(data):
    name = hashlib.sha256(data).hexdigest()
    with open(f"{root}/blobs/sha256/{name}", "wb") as file:
        file.write(data)
    return {"digest": "sha256:" + name, "size": len(data)}
def layer(name, size):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = size
        tar.addfile(info, io.BytesIO(os.urandom(size)))
    return put(out.getvalue())
layers = [layer("large", 16_000_000), layer("small", 1000)]
config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [l["digest"] for l in layers]}}
image = "application/vnd.oci.image."
manifest = {"schemaVersion": 2, "mediaType": image + "manifest.v1+json",
            "config": put(json.dumps(config).encode()) | {"mediaType": image + "config.v1+json"},
            "layers": [l | {"mediaType": image + "layer.v1.tar"} for l in layers]}
entry = put(json.dumps(manifest).encode()) | {"mediaType": image + "manifest.v1+json", "annotations": {"org.opencontainers.image.ref.name": "v1"}}
for name, content in (("index.json", {"schemaVersion": 2, "manifests": [entry]}), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
    with open(f"{root}/{name}", "w") as file:
        json.dump(content, file)
PY
}

registry_copy() { run "skopeo copy $*" skopeo --insecure-policy --tmpdir "$PWD" copy --preserve-digests "$@"; }

registry_check() {
    registry_image image
    registry_copy --dest-tls-verify=false oci:image:v1 "docker://${http#http://}/team/app:v1"
    registry_copy --src-tls-verify=false "docker://${http#http://}/team/app:v1" oci:back:v1
    mkdir certs && cp "$ca" certs/ca.crt
    registry_copy --src-cert-dir=certs "docker://${https#https://}/team/app:v1" oci:secure:v1
    local copy
    for copy in back secure; do
        same_tree "skopeo copy" image/blobs "$copy/blobs"
    done
    fetch "an upload's place" --request POST "$http/v2/team/app/blobs/uploads/"
    shows "an upload's place" "$work/head" "^location: $http/v2/team/app/blobs/uploads/"
    fetch "an upload's place, TLS" --request POST "$https/v2/team/app/blobs/uploads/"
    shows "an upload's place, TLS" "$work/head" "^location: $https/v2/team/app/blobs/uploads/"
    logged registry '"method":"PATCH"'
    summary="skopeo ↔ the registry of distribution: layers of 16 MB by PATCH, Location with our host and scheme"
}

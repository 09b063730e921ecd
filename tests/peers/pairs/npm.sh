# shellcheck shell=bash disable=SC2154,SC2034 # sourced by check-pairs.sh
# npm ↔ verdaccio: `%2f` within a path, a package as JSON, tarballs at URLs that the server makes of our host.

npm_needs="npm node @node"

npm_start() {
    cat >"$work/verdaccio.yaml" <<CONF
storage: $work/npm-root
auth: { htpasswd: { file: $work/npm-users } }
packages: { '**': { access: \$all, publish: \$authenticated } }
log: { type: stdout, format: pretty, level: warn }
CONF
    start npm "$modules/.bin/verdaccio" --config "$work/verdaccio.yaml" --listen "127.0.0.1:$1"
}

npm_check() {
    fetch "a new user" --request PUT --json '{"name":"peer","password":"peer-password"}' "$http/-/user/org.couchdb.user:peer"
    local token
    token=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])' <"$work/body") || die "verdaccio gives no token"
    mkdir -p package/lib user tls
    printf '{"name":"@peers/large","version":"1.0.0","main":"lib/index.js"}\n' >package/package.json
    printf 'module.exports = require("fs").readFileSync(__dirname + "/large.bin");\n' >package/lib/index.js
    blob package/lib/large.bin 5000000
    cat >npmrc <<RC
registry=$http/
//${http#http://}/:_authToken=$token
cafile=$ca
cache=$PWD/cache
audit=false
fund=false
update-notifier=false
RC
    export NPM_CONFIG_USERCONFIG=$PWD/npmrc
    (cd package && run "npm publish" npm publish)
    logged npm '"method":"PUT","path":"/@peers%2[fF]large'
    npm_install user "$http/"
    npm_install tls "$https/"
    unset NPM_CONFIG_USERCONFIG
    summary="npm ↔ verdaccio: publish of 5 MB as JSON, a scope's %2f, tarballs at our host, over HTTP and TLS"
}

npm_install() {
    printf '{"private":true}\n' >"$1/package.json"
    (cd "$1" && run "npm install $1" npm install --registry "$2" --cache "$PWD/cache" @peers/large)
    same "npm install $1" package/lib/large.bin "$1/node_modules/@peers/large/lib/large.bin"
    shows "npm install $1" "$1/package-lock.json" "\"resolved\": \"$2@peers/large/-/large-1.0.0.tgz\""
}

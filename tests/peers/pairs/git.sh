# shellcheck shell=bash disable=SC2154,SC2034 # sourced by check-pairs.sh
# git ↔ git http-backend in lighttpd: packs sent in chunks, answers of a CGI program; and HTTP/2 by ALPN.

git_needs="git lighttpd"

git_start() {
    mkdir -p "$work/git-root"
    git config --global init.defaultBranch main
    git init --quiet --bare "$work/git-root/repo.git"
    git -C "$work/git-root/repo.git" config http.receivepack true
    cat >"$work/git.conf" <<CONF
server.modules = ("mod_alias", "mod_setenv", "mod_cgi")
server.document-root = "$work/git-root"
server.bind = "127.0.0.1"
server.port = $1
alias.url = ("/git/" => "$(git --exec-path)/git-http-backend/")
setenv.add-environment = ("GIT_PROJECT_ROOT" => "$work/git-root", "GIT_HTTP_EXPORT_ALL" => "1", "HOME" => "$work/home")
cgi.assign = ("" => "")
CONF
    git config --global user.name Peer
    git config --global user.email peer@example.com
    git config --global safe.directory '*'
    start git lighttpd -D -f "$work/git.conf"
}

# git_commits REPOSITORY COUNT: many small ones, so that a fetch has much to tell about what it has.
git_commits() {
    local i
    for ((i = 0; i < $2; i++)); do
        printf 'commit refs/heads/main\ncommitter Peer <peer@example.com> %d +0000\ndata 1\n%d\n' $((1700000000 + i)) $((i % 10))
        [ $i != 0 ] || printf 'from refs/heads/main^0\n'
        printf '\n'
    done | git -C "$1" fast-import --quiet
}

git_check() {
    git init --quiet first
    blob first/large.bin 16000000
    printf '*.bin -delta\n' >first/.gitattributes
    git -C first add . && git -C first commit --quiet --message large
    GIT_TRACE_CURL=$PWD/trace GIT_TRACE_CURL_NO_DATA=1 run "git push" git -C first -c http.postBuffer=65536 push "$http/git/repo.git" main
    shows "git push" trace 'Transfer-Encoding: chunked'
    run "git clone" git clone --quiet "$http/git/repo.git" second
    same "git clone" first/large.bin second/large.bin
    git_commits second 400
    git_commits first 5
    run "git push" git -C first push "$http/git/repo.git" main
    run "git fetch" git -C second fetch
    GIT_TRACE_CURL=$PWD/trace GIT_TRACE_CURL_NO_DATA=1 run "git clone, TLS" \
        git -c http.sslCAInfo="$ca" -c http.version=HTTP/2 clone --quiet --mirror "$https/git/repo.git" third
    shows "git clone, TLS" trace 'HTTP/2 200'
    run "git fsck" git -C third fsck --full --strict
    [ "$(git -C third rev-parse main)" = "$(git -C first rev-parse main)" ] || die "git: the clone over TLS has another head"
    [ "$(git -C second rev-parse origin/main)" = "$(git -C first rev-parse main)" ] || die "git: the fetch has another head"
    summary="git ↔ git http-backend, lighttpd: a pack of 16 MB in chunks, TLS with HTTP/2"
}

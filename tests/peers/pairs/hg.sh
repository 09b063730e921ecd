# shellcheck shell=bash disable=SC2154,SC2034 # sourced by check-pairs.sh
# Mercurial ↔ hg serve: arguments in numbered headers, bundles as bodies, a server that is Python's own.

hg_needs="hg"

hg_start() {
    export HGRCPATH="$work/hgrc"
    printf '[ui]\nusername = Peer\n[web]\npush_ssl = no\nallow_push = *\n[cacerts]\n' >"$HGRCPATH"
    hg init "$work/hg-root"
    start hg hg serve --repository "$work/hg-root" --address 127.0.0.1 --port "$1"
}

hg_check() {
    local i
    run "hg clone of nothing" hg clone "$http/" first
    blob first/large.bin 12000000
    run "hg commit" hg --cwd first commit --addremove --message large
    for i in {1..12}; do
        printf '%s' "$i" >"first/file-$i"
        run "hg commit" hg --cwd first update --quiet 0
        run "hg commit" hg --cwd first commit --addremove --message "head $i"
    done
    run "hg push" hg --cwd first push --force --new-branch
    run "hg clone" hg clone --pull "$http/" second
    same "hg clone" first/large.bin second/large.bin
    run "hg verify" hg --cwd second verify
    run "hg clone, TLS" hg clone --pull --config web.cacerts="$ca" "$https/" third
    [ "$(hg --cwd third heads --template '{node}\n' | sort)" = "$(hg --cwd first heads --template '{node}\n' | sort)" ] ||
        die "hg: the clone over TLS has other heads"
    run "hg pull with much to tell" hg --cwd second --debug --config devel.debug.peer-request=yes pull --config web.cacerts="$ca" "$https/"
    shows "hg pull" "$work/out" 'X-HgArg-1|[0-9]+ bytes of commands arguments in headers'
    summary="hg ↔ hg serve: a bundle of 12 MB, 12 heads, arguments in headers"
}

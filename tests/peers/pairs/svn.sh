# shellcheck shell=bash disable=SC2154,SC2034 # sourced by check-pairs.sh
# Subversion ↔ Apache's mod_dav_svn: PROPFIND, REPORT, MERGE, COPY to a URL in a header, requests sent ahead of the answers.

svn_needs="svn svnadmin apache2"

svn_start() {
    local modules=/usr/lib/apache2/modules
    svnadmin create "$work/svn-root"
    mkdir "$work/svn-run"
    cat >"$work/svn.conf" <<CONF
ServerRoot $work/svn-run
ServerName localhost
Listen 127.0.0.1:$1
PidFile $work/svn-run/pid
ErrorLog /dev/stderr
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule dav_module $modules/mod_dav.so
LoadModule dav_svn_module $modules/mod_dav_svn.so
<Location /svn>
    DAV svn
    SVNPath $work/svn-root
</Location>
CONF
    if [ "$(id -u)" = 0 ]; then
        printf 'User www-data\nGroup www-data\n' >>"$work/svn.conf"
        chown -R www-data "$work/svn-root"
    fi
    start svn apache2 -D FOREGROUND -f "$work/svn.conf"
}

# The client; its settings are nobody's.
svn_() { run "svn $1" svn --config-dir "$work/svn-config" --non-interactive "$@"; }

svn_check() {
    local i
    svn_ checkout "$http/svn" first
    mkdir -p first/trunk/many
    blob first/trunk/large.bin 12000000
    for i in {1..60}; do printf 'file %s\n' "$i" >"first/trunk/many/größe $i & co%20.txt"; done
    svn_ add first/trunk
    svn_ commit --message all first
    svn_ copy --message branch "$http/svn/trunk" "$http/svn/branch"
    svn_ move --message move "$http/svn/branch/large.bin" "$http/svn/branch/moved.bin"
    printf 'changed\n' >"first/trunk/many/größe 7 & co%20.txt"
    svn_ commit --config-option servers:global:http-chunked-requests=yes --message change first
    svn_ checkout --config-option servers:global:http-bulk-updates=no --config-option servers:global:http-max-connections=8 "$http/svn" second
    same "svn" first/trunk/large.bin second/branch/moved.bin
    same_tree "svn checkout" first/trunk second/trunk
    svn_ export --config-option "servers:global:ssl-authority-files=$ca" "$https/svn/trunk@3" third
    printf 'file 7\n' | cmp -s - "third/many/größe 7 & co%20.txt" || die "svn: the export of an older revision has another text"
    logged svn '"method":"(REPORT|MERGE|COPY)"' 3
    summary="svn ↔ mod_dav_svn, Apache: WebDAV's methods, Destination, names with spaces, umlauts and %, 8 connections"
}

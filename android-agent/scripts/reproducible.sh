#!/usr/bin/env bash
# Builds the release and the host jar a second time, in a copy of the sources at another place, with another time zone, language and file mode
# mask, and compares: the same bytes before signing. The first build is what build.sh left; without one it is made. If fcm.sh left the release
# with FCM as well, that is compared too.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"
first=$app_dir/target/apk-release/unsigned.apk
first_fcm=$app_dir/target/apk-release-fcm/unsigned.apk
first_host=$out_dir/nexmdm-agent-host.jar
if [ ! -f "$first" ] || [ ! -f "$first_host" ]; then "$agent_dir/build.sh" release --no-tests; fi
version=$("$scripts_dir/version.sh")
copy=$(mktemp -d "${TMPDIR:-/tmp}/nexmdm-agent-second-build.XXXXXX")
trap 'rm -rf "$copy"' EXIT
(cd "$agent_dir/.." && git ls-files -z --cached --others --exclude-standard android-agent .ci | tar -c --null -T - | tar -x -C "$copy")
second=$copy/android-agent
(
    umask 027
    export NEXMDM_AGENT_VERSION_CODE NEXMDM_AGENT_VERSION_NAME NEXMDM_AGENT_COMMIT
    NEXMDM_AGENT_VERSION_CODE=$(field version_code <<<"$version")
    NEXMDM_AGENT_VERSION_NAME=$(field version_name <<<"$version")
    NEXMDM_AGENT_COMMIT=$(field commit <<<"$version")
    export TZ=Asia/Kathmandu LC_ALL=C.UTF-8
    if [ -f "$first_fcm" ]; then
        NEXMDM_AGENT_GOOGLE_SERVICES=$second/fcm/src/test/resources/google-services.json NEXMDM_AGENT_APK_DIR=$second/app/target/apk-release-fcm \
            "$second/build.sh" release --unsigned
        # The other release, of the same classes.
        "$second/scripts/package.sh" release
    else
        "$second/build.sh" release --unsigned
    fi
) >"$copy/build.log" 2>&1 || { tail -50 "$copy/build.log" >&2; fail "the second build failed"; }
differ=0
compare() { # what, first, second
    if cmp -s "$2" "$3"; then
        say "$1: two builds give the same $(stat -c %s "$2") bytes, SHA-256 $(sha256sum "$2" | cut -d' ' -f1)"
    else
        say "$1: two builds differ:"
        diff <(unzip -lv "$2" | awk '{print $NF, $(NF-1), $1}') <(unzip -lv "$3" | awk '{print $NF, $(NF-1), $1}') | head -20 >&2 || true
        differ=1
    fi
}
compare "unsigned release APK" "$first" "$second/app/target/apk-release/unsigned.apk"
[ ! -f "$first_fcm" ] || compare "unsigned release APK with FCM" "$first_fcm" "$second/app/target/apk-release-fcm/unsigned.apk"
compare "host jar" "$first_host" "$second/out/nexmdm-agent-host.jar"
[ "$differ" -eq 0 ] || fail "not reproducible"

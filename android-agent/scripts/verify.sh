#!/usr/bin/env bash
# verify.sh APK: what devices and what the server make of a signed APK. Prints what the server reads: package, version, signers.
#
# The server's reader is `nexmdm ctl apks inspect`: of the program NEXMDM_BINARY, else built here by cargo. Without either only apksigner
# judges, unless NEXMDM_AGENT_REQUIRE_SERVER_READER=1 makes that an error.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"
apk=$(readlink -f "${1:?APK}")
verified=$(apksigner verify --verbose --print-certs --min-sdk-version "$min_sdk" "$apk" 2>&1) || fail "apksigner refuses $apk: $verified"
for scheme in 'v2 scheme (APK Signature Scheme v2): true' 'v3 scheme (APK Signature Scheme v3): true' 'v1 scheme (JAR signing): false'; do
    grep -qF "$scheme" <<<"$verified" || fail "apksigner does not say \"$scheme\": $verified"
done
signer=$(sed -n 's/^.*certificate SHA-256 digest: //p' <<<"$verified" | sort -u)
[[ $signer =~ ^[0-9a-f]{64}$ ]] || fail "one signer was expected: $signer"
zipalign -c -p 4 "$apk" || fail "not aligned: $apk"

# A field of the JSON that the server's reader prints, a field a line.
read_field() { sed -nE "s/^ *\"$1\": \"?([^\",]*)\"?,?\$/\1/p"; }
inspect() {
    if [ -n "${NEXMDM_BINARY:-}" ]; then
        "$NEXMDM_BINARY" ctl --output json apks inspect "$1"
    else
        (cd "$agent_dir/.." && SQLX_OFFLINE=true cargo run -q -p node -- ctl --output json apks inspect "$1")
    fi
}
if [ -n "${NEXMDM_BINARY:-}" ] || command -v cargo >/dev/null; then
    facts=$(inspect "$apk") || fail "the server's reader refuses $apk"
    grep -q "\"$signer\"" <<<"$facts" || fail "the server reads another signer than $signer: $facts"
    package=$(read_field package <<<"$facts") version_code=$(read_field version_code <<<"$facts") version_name=$(read_field version_name <<<"$facts")
elif [ "${NEXMDM_AGENT_REQUIRE_SERVER_READER:-}" = 1 ]; then
    fail "neither NEXMDM_BINARY nor cargo: the server's reader cannot judge $apk"
else
    say "WARNING: verified by apksigner alone: without cargo or NEXMDM_BINARY the server's own reader cannot judge it"
    badging=$(aapt2 dump badging "$apk" 2>/dev/null)
    read -r package version_code version_name < <(sed -nE "s/^package: name='([^']*)' versionCode='([^']*)' versionName='([^']*)'.*/\1 \2 \3/p" <<<"$badging")
fi
[[ $package == *.* && $version_code =~ ^[0-9]+$ ]] || fail "package and version cannot be read: $apk"
printf 'package=%s\nversion_code=%s\nversion_name=%s\nsigner=%s\n' "$package" "$version_code" "$version_name" "$signer"

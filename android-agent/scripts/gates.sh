#!/usr/bin/env bash
# gates.sh [debug|release]: what a packaged APK has to keep to. Prints the figures; fails where one leaves its limit.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"
mode=${1:-release}
check_mode "$mode"
work=$(apk_dir "$mode")
apk=$work/unsigned.apk
# The shrunk release has to fit cheap mobile data; the debug build carries every library whole.
case "$mode" in
release) budget_bytes=1500000 methods_max=20000 ;;
debug) budget_bytes=8000000 methods_max=65536 ;;
esac
entries='AndroidManifest\.xml|resources\.arsc|classes[0-9]*\.dex|res/.*|META-INF/services/.*|okhttp3/internal/publicsuffix/.*'
wanted=(AndroidManifest.xml classes.dex resources.arsc)
if [ -n "$google_services" ]; then
    [ "$mode" = debug ] || budget_bytes=2500000
    entries="$entries|assets/google-services\.json"
    wanted+=(assets/google-services.json)
fi

# invoke-custom would be a lambda or string concatenation that the dexer left to a bootstrap method of the JVM, which Android 8 lacks.
methods=0
for dex in "$work"/dex/classes*.dex; do
    custom=$(dexdump -d "$dex" | grep -c invoke-custom || true)
    [ "$custom" -eq 0 ] || fail "$dex has $custom invoke-custom instructions"
    # method_ids_size of the dex header, little-endian.
    methods=$((methods + $(od -A n -t u4 -j 88 -N 4 --endian=little "$dex")))
done
[ "$methods" -gt 0 ] || fail "no method in $work/dex"
[ "$methods" -le "$methods_max" ] || fail "$methods method references are more than $methods_max"

bytes=$(stat -c %s "$apk")
[ "$bytes" -le "$budget_bytes" ] || fail "$bytes bytes are more than the budget of $budget_bytes"
# Android 11 and later refuse a resource table that is compressed or not aligned.
grep -q 'Stored' <<<"$(unzip -v "$apk" resources.arsc)" || fail "resources.arsc is compressed"
zipalign -c -p 4 "$apk" || fail "$apk is not aligned"
for entry in "${wanted[@]}"; do
    unzip -l "$apk" "$entry" >/dev/null || fail "$apk has no $entry"
done
strange=$(unzip -Z1 "$apk" | grep -vE "^($entries)\$" || true)
[ -z "$strange" ] || fail "the APK holds what nothing reads: $(tr '\n' ' ' <<<"$strange")"

say "$mode APK$([ -z "$google_services" ] || echo ' with FCM'): $bytes bytes ($budget_bytes allowed), $methods method references" \
    "($methods_max allowed), 0 invoke-custom"

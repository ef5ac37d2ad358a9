#!/usr/bin/env bash
# gates.sh [debug|release]: what a packaged APK has to keep to. Prints the figures; fails where one leaves its limit.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"
mode=${1:-release}
check_mode "$mode"
work=$app_dir/target/apk-$mode
apk=$work/unsigned.apk
# The shrunk release has to fit cheap mobile data; the debug build carries every library whole.
case "$mode" in
release) budget_bytes=2500000 methods_max=20000 ;;
debug) budget_bytes=8000000 methods_max=65536 ;;
esac
# Size that the release keeps to without push by FCM.
target_bytes=1500000

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
for wanted in AndroidManifest.xml classes.dex resources.arsc; do
    unzip -l "$apk" "$wanted" >/dev/null || fail "$apk has no $wanted"
done
strange=$(unzip -Z1 "$apk" | grep -vE '^(AndroidManifest\.xml|resources\.arsc|classes[0-9]*\.dex|res/.*|META-INF/services/.*|okhttp3/internal/publicsuffix/.*)$' || true)
[ -z "$strange" ] || fail "the APK holds what nothing reads: $(tr '\n' ' ' <<<"$strange")"

budget="$budget_bytes allowed"
[ "$mode" = debug ] || budget="$budget, aim without FCM $target_bytes: $([ "$bytes" -lt "$target_bytes" ] && echo kept || echo missed)"
say "$mode APK: $bytes bytes ($budget), $methods method references ($methods_max allowed), 0 invoke-custom"

#!/usr/bin/env bash
# package.sh debug|release [FILE]: classes and resources -> one aligned, unsigned APK. Run after `mvn package`.
#
# The dex is made anew only when its inputs changed, so that another version of the same build (NEXMDM_AGENT_VERSION_CODE,
# NEXMDM_AGENT_VERSION_NAME) takes seconds: the version stands in the manifest alone. NEXMDM_AGENT_PACKAGE renames the package,
# NEXMDM_AGENT_GOOGLE_SERVICES puts FCM in.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"
mode=${1:-release}
check_mode "$mode"
work=$(apk_dir "$mode")
unsigned=${2:-$work/unsigned.apk}
version=$("$scripts_dir/version.sh")
# The newest framework resources that aapt2 of Debian 12 reads.
resources_jar=$app_dir/target/framework/android-resources.jar
manifest=$app_dir/src/main/AndroidManifest.xml
resources=("$app_dir/target/res/compiled.zip")
rule_files=("$app_dir/r8.pro" "$app_dir/target/res/aapt.pro")
link=()
if [ -z "$google_services" ]; then
    mapfile -t jars < <(program_jars)
else
    mapfile -t jars < <(find "$fcm_dir"/target/fcm-1.jar "$fcm_dir"/target/libs -name '*.jar' | sort)
fi
[ "${#jars[@]}" -gt 1 ] || fail "nothing to package: run build.sh"
mkdir -p "$work" "$(dirname "$unsigned")"
unsigned=$(cd "$(dirname "$unsigned")" && pwd)/$(basename "$unsigned")

if [ -n "$google_services" ]; then
    check_google_services "$google_services" "${NEXMDM_AGENT_PACKAGE:-com.nexmdm}"
    rm -rf "$work/assets" && mkdir "$work/assets"
    cp "$google_services" "$work/assets/google-services.json"
    manifest=$fcm_dir/target/manifest/AndroidManifest.xml
    mapfile -t resources < "$fcm_dir/target/res/order"
    mapfile -t rule_files < <(find "$fcm_dir/libraries/target/unpacked" -name proguard.txt | sort)
    rule_files+=("$app_dir/r8.pro" "$fcm_dir/r8.pro" "$fcm_dir/target/res/aapt.pro")
    # The app's classes hold the numbers of its resources; of the libraries' languages those are taken that the app has.
    link+=(--stable-ids "$app_dir/target/res/ids.txt" -c 'en,de' -A "$work/assets")
fi

rules=()
for file in "${rule_files[@]}"; do rules+=(--pg-conf "$file"); done
inputs=$(cat "${jars[@]}" "${rule_files[@]}" "$app_dir/target/tools/r8.jar" | sha256sum)
if [ "$(cat "$work/dex.inputs" 2>/dev/null)" != "$inputs" ]; then
    rm -rf "$work/dex" "$work/dex.inputs" && mkdir "$work/dex"
    if [ "$mode" = release ]; then
        r8 R8 --release --min-api "$min_sdk" --lib "$android_jar" --lib "$(jdk_home)" "${rules[@]}" \
            --pg-map-output "$work/mapping.txt" --output "$work/dex" "${jars[@]}"
    else
        r8 D8 --debug --min-api "$min_sdk" --lib "$android_jar" --lib "$(jdk_home)" --output "$work/dex" "${jars[@]}"
        # Unlike R8, D8 leaves the libraries' resource files out.
        for jar in "${jars[@]}"; do
            unzip -q -o "$jar" -x '*.class' -d "$work/dex" || [ $? -eq 11 ]
        done
    fi
    # What only compilers, reflection and shrinkers read.
    find "$work/dex" \( -name '*.kotlin_module' -o -name '*.kotlin_builtins' -o -name '*.kotlin_metadata' -o -name '*.pro' -o -name '*.bin' -o -name '*.version' \
        -o -name '*.properties' -o -name '*.proto' -o -name 'MANIFEST.MF' -o -name 'module-info.*' -o -iname 'LICENSE*' -o -iname 'NOTICE*' \) -type f -delete
    rm -rf "$work/dex/META-INF/maven" "$work/dex/META-INF/versions" "$work/dex/META-INF/native-image" "$work/dex/META-INF/com.android.tools"
    find "$work/dex" -mindepth 1 -type d -empty -delete
    echo "$inputs" >"$work/dex.inputs"
fi

link+=(--version-code "$(field version_code <<<"$version")" --version-name "$(field version_name <<<"$version")" --replace-version)
[ "$mode" = release ] || link+=(--debug-mode)
[ -z "${NEXMDM_AGENT_PACKAGE:-}" ] || link+=(--rename-manifest-package "$NEXMDM_AGENT_PACKAGE")
# aapt2 of Debian 12 warns of chunks of the platform's resources that it does not know, and of two elements newer than it.
aapt2 link --warn-manifest-validation -o "$work/linked.apk" -I "$resources_jar" --manifest "$manifest" \
    --auto-add-overlay "${link[@]}" "${resources[@]}" \
    2> >(grep -vE 'Unknown chunk type|unexpected element <(property|queries)>' >&2)

# Entries in a fixed order with a fixed time: the same inputs give the same bytes.
find "$work/dex" -type f -exec touch -d '1981-01-01 00:00:00' {} +
find "$work/dex" -type f -exec chmod 644 {} +
(cd "$work/dex" && find . -type f | sed 's|^\./||' | sort | zip -q -X -9 ../linked.apk -@)
zipalign -f -p 4 "$work/linked.apk" "$unsigned"
zipalign -c -p 4 "$unsigned"
say "$mode $(field version_name <<<"$version") ($(field version_code <<<"$version")): ${unsigned#"$agent_dir"/}, $(stat -c %s "$unsigned") bytes, not signed"

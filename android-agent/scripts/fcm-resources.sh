#!/usr/bin/env bash
# Merges the manifests and compiles the resources of app, FCM and its libraries: fcm-resources.sh FRAMEWORK_JAR VERSION_CODE VERSION_NAME MERGER
# MERGER is the class path of Android's manifest merger. Leaves, in fcm/target, manifest/AndroidManifest.xml, res/*.zip (compiled), res/order
# (those and the app's, lowest priority first), res/res.apk, res/aapt.pro, gen (R.java of app and libraries) and testconfig, as resources.sh
# does for the app. Maven calls it in `generate-sources`.
set -euo pipefail
export LC_ALL=C
framework_jar=$1
version_code=$2
version_name=$3
merger=$4
cd "$(dirname "$0")/../fcm"
libraries=libraries/target/unpacked
app=../app

rm -rf target/manifest target/res target/gen target/testconfig target/test-assets
mkdir -p target/manifest target/res target/gen target/testconfig/com/android/tools target/test-assets
manifests=$(find "$libraries" -mindepth 2 -maxdepth 2 -name AndroidManifest.xml | sort | paste -sd:)
# The merger takes the API levels from its command line alone.
sdk() { sed -nE "s/.*<uses-sdk.* android:$1=\"([0-9]+)\".*/\1/p" "$app/src/main/AndroidManifest.xml"; }
sed '/<uses-sdk /d' "$app/src/main/AndroidManifest.xml" >target/manifest/app.xml
java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$merger" com.android.manifmerger.Merger --log WARNING --remove-tools-declarations \
    --property min_sdk_version="$(sdk minSdkVersion)" --property target_sdk_version="$(sdk targetSdkVersion)" --main target/manifest/app.xml --overlays src/main/AndroidManifest.xml --libs "$manifests" \
    --placeholder applicationId=com.nexmdm --out target/manifest/AndroidManifest.xml

linked=()
packages=()
for resources in "$libraries"/*/res; do
    [ -n "$(find "$resources" -type f)" ] || continue
    folder=$(dirname "$resources")
    name=$(basename "$folder")
    aapt2 compile --dir "$resources" -o "target/res/$name.zip"
    linked+=("$PWD/target/res/$name.zip")
    packages+=("$(sed -n 's/^.*package="\([^"]*\)".*$/\1/p' "$folder/AndroidManifest.xml" | head -1)")
done
# The app's classes hold the numbers of its resources: those stay.
linked+=("$(cd "$app" && pwd)/target/res/compiled.zip")
printf '%s\n' "${linked[@]}" >target/res/order
cp src/test/resources/google-services.json target/test-assets/
aapt2 link --warn-manifest-validation -o target/res/res.apk -I "$framework_jar" --manifest target/manifest/AndroidManifest.xml \
    --version-code "$version_code" --version-name "$version_name" --stable-ids "$app/target/res/ids.txt" -c en,de -A target/test-assets \
    --java target/gen --extra-packages "$(IFS=: && echo "${packages[*]}")" --proguard target/res/aapt.pro \
    --auto-add-overlay "${linked[@]}" \
    2> >(grep -vE 'Unknown chunk type|unexpected element <(property|queries)>' >&2)

cat >target/testconfig/com/android/tools/test_config.properties <<PROPERTIES
android_custom_package=com.nexmdm
android_merged_manifest=$PWD/target/manifest/AndroidManifest.xml
android_resource_apk=$PWD/target/res/res.apk
PROPERTIES

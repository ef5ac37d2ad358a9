#!/usr/bin/env bash
# Compiles the app's resources: resources.sh FRAMEWORK_JAR VERSION_CODE VERSION_NAME
# Leaves target/res/res.apk (resources and binary manifest), target/gen (R.java), target/res/aapt.pro (keep rules of what the
# manifest names), target/res/ids.txt (numbers of the resources) and target/testconfig (where Robolectric finds the resources). Maven calls it in `generate-sources`.
set -euo pipefail
framework_jar=$1
version_code=$2
version_name=$3
cd "$(dirname "$0")/../app"

rm -rf target/res target/gen target/testconfig
mkdir -p target/res target/gen target/testconfig/com/android/tools
aapt2 compile --dir src/main/res -o target/res/compiled.zip
# <property> and <queries> are newer than Debian's aapt2: it warns of them, and of chunks of the framework that it does not need.
link_log=target/res/link.log
if ! aapt2 link --warn-manifest-validation -o target/res/res.apk -I "$framework_jar" --manifest src/main/AndroidManifest.xml \
  --version-code "$version_code" --version-name "$version_name" --java target/gen --proguard target/res/aapt.pro --emit-ids target/res/ids.txt \
  --auto-add-overlay target/res/compiled.zip 2> "$link_log"; then
  cat "$link_log" >&2
  exit 1
fi
grep -vE 'Unknown chunk type|unexpected element <(property|queries)>' "$link_log" >&2 || true

cat > target/testconfig/com/android/tools/test_config.properties <<PROPERTIES
android_custom_package=com.nexmdm
android_merged_manifest=$PWD/src/main/AndroidManifest.xml
android_resource_apk=$PWD/target/res/res.apk
PROPERTIES

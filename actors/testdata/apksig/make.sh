#!/bin/bash
# Makes `cases.zip` and `verdicts.tsv` anew: APKs with every kind of signature, sound and broken, and what the library of apksigner says of
# each for devices of some API levels. Needs a JDK, aapt2, zipalign, and two jars that the agent's build fetches:
# APKSIG_JAR (com.android.tools.build:apksig) and FRAMEWORK_JAR (org.robolectric:android-all, of Android 14).
# The results are committed, so that tests need none of that. Keys are thrown away; nothing but the files tells them.
set -euo pipefail
cd "$(dirname "$0")"
newest() { find "$HOME/.m2/repository" -name "$1" | sort -V | tail -1; }
apksig=${APKSIG_JAR:-$(newest 'apksig-*.jar')}
framework=${FRAMEWORK_JAR:-$(newest 'android-all-14-*.jar')}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

key() { # ALIAS KEYTOOL-OPTIONS...
    keytool -genkeypair -keystore "$work/keys.p12" -storetype PKCS12 -storepass throwaway -alias "$1" -dname "CN=$1" -validity 20000 "${@:2}" 2>/dev/null
}
if [ -n "${KEYS:-}" ]; then
    cp "$KEYS" "$work/keys.p12"
else
    for bits in 1024 2048 3072 4096 8192; do key "rsa-$bits" -keyalg RSA -keysize "$bits"; done
    for bits in 256 384 521; do key "ec-p$bits" -keyalg EC -groupname "secp${bits}r1"; done
    for bits in 1024 2048 3072; do key "dsa-$bits" -keyalg DSA -keysize "$bits"; done
    key rsa-2048-b -keyalg RSA -keysize 2048
    key ec-p256-b -keyalg EC -groupname secp256r1
    key ec-p256-c -keyalg EC -groupname secp256r1
fi

for min_sdk in 26 28; do
    cat > "$work/AndroidManifest.xml" <<XML
<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="com.example.case" android:versionCode="1">
    <uses-sdk android:minSdkVersion="$min_sdk" android:targetSdkVersion="35"/>
    <application android:hasCode="false"/>
</manifest>
XML
    aapt2 link --warn-manifest-validation -o "$work/linked.apk" -I "$framework" --manifest "$work/AndroidManifest.xml" >/dev/null 2>&1
    zipalign -f 4 "$work/linked.apk" "$work/base-$min_sdk.apk"
done

# Apps that devices refuse, or take, for what their manifest says: signed well.
app() { # NAME ATTRIBUTES-OF-MANIFEST MIN-SDK TARGET-SDK ATTRIBUTES-OF-APPLICATION [WITHIN-APPLICATION]
    mkdir -p "$work/res/values"
    printf '<resources><string name="label">Till \U1F600\U1F6D2</string><bool name="yes">true</bool></resources>' > "$work/res/values/values.xml"
    cat > "$work/AndroidManifest.xml" <<XML
<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="com.example.app" android:versionCode="1" $2>
    <uses-sdk android:minSdkVersion="$3" android:targetSdkVersion="$4"/>
    <application android:label="@string/label" $5>${6:-}</application>
</manifest>
XML
    aapt2 compile --dir "$work/res" -o "$work/res.zip"
    aapt2 link --warn-manifest-validation -o "$work/linked.apk" -I "$framework" --manifest "$work/AndroidManifest.xml" "$work/res.zip" >/dev/null 2>&1
    # shellcheck disable=SC2086 # several words each
    [ -z "${files:-}" ] || (cd "$work/files" && zip -q ${zip_options:-} "$work/linked.apk" $files)
    mkdir -p "$work/apps"
    # shellcheck disable=SC2086
    zipalign -f ${align:-4} "$work/linked.apk" "$work/apps/$1.apk"
}
mkdir -p "$work/files/lib/arm64-v8a" "$work/files/lib/armeabi-v7a" "$work/files/lib/x86/more"
echo code > "$work/files/classes.dex"
for abi in arm64-v8a armeabi-v7a; do head -c 2000 /dev/zero > "$work/files/lib/$abi/libtill.so"; done
echo text > "$work/files/lib/x86/more/notes.txt"
code='android:hasCode="false"'
app plain '' 26 35 "$code"
app split 'split="config.arm64_v8a"' 26 35 "$code"
app feature-split 'split="camera" android:isFeatureSplit="true"' 26 35 "$code"
app split-required 'android:isSplitRequired="true"' 26 35 "$code"
app split-required-by-resource 'android:isSplitRequired="@bool/yes"' 26 35 "$code"
app split-types-required 'android:requiredSplitTypes="base__abi,base__density"' 26 35 "$code"
app split-required-by-store '' 26 35 "$code" '<meta-data android:name="com.android.vending.splits.required" android:value="true"/>'
app test-only '' 26 35 "$code android:testOnly=\"true\""
app preview-min '' Baklava 35 "$code"
app preview-target '' 26 Baklava "$code"
app no-code '' 26 35 ''
files='classes.dex lib/arm64-v8a/libtill.so lib/armeabi-v7a/libtill.so lib/x86/more/notes.txt'
app native '' 26 35 ''
app native-packed-in-place '' 26 35 'android:extractNativeLibs="false"'
zip_options=-0 align='-p 4' app native-in-place '' 26 35 'android:extractNativeLibs="false"'
zip_options=-0 app native-in-place-unaligned '' 26 35 'android:extractNativeLibs="false"'
files=

java -cp "$apksig" Cases.java "$work" .

#!/usr/bin/env bash
# Kotlin style and smells, shell scripts, GitHub workflows. `--format` first lets ktlint mend what it can.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"
actionlint=github.com/rhysd/actionlint/cmd/actionlint@v1.7.7
cd "$agent_dir"
# The pinned versions stand in pom.xml.
if [ ! -f target/tools/fetched ] || [ pom.xml -nt target/tools/fetched ]; then
    maven -q -N dependency:copy@lint-tools
    touch target/tools/fetched
fi
jvm=(java -Xmx1g -XX:+UseSerialGC -XX:TieredStopAtLevel=1)

ktlint() { "${jvm[@]}" --add-opens java.base/java.lang=ALL-UNNAMED -jar target/tools/ktlint.jar --relative "$@" '*/src/**/*.kt'; }
if [ "${1:-}" = --format ]; then ktlint --format || true; fi
say "ktlint"
ktlint
say "detekt"
sources=$(find core host app fcm -type d -name kotlin -path '*/src/*' 2>/dev/null | paste -sd,)
"${jvm[@]}" -jar target/tools/detekt.jar --config detekt.yml --build-upon-default-config --parallel --input "$sources"
say "shellcheck"
shellcheck -x -P SCRIPTDIR build.sh scripts/*.sh ../.ci/deb ../.ci/demo ../.ci/deploy ../.ci/fuzz ../.ci/install-deps ../.ci/layers ../.ci/prometheus ../.ci/run ../.ci/systemd ../.ci/test \
    ../.ci/image/{base,build,compile,root,store,test} ../config/compose/init-secrets ../config/debian/{postinst,postrm,prerm}
if command -v actionlint >/dev/null; then
    say "actionlint"
    (cd .. && command actionlint .github/workflows/*.yml)
elif command -v go >/dev/null; then
    say "actionlint"
    (cd .. && go run "$actionlint" .github/workflows/*.yml)
else
    say "actionlint left out: neither it nor Go is here"
fi
say "lint passed"

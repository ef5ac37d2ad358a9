#!/usr/bin/env bash
# Prints the agent's version: version_code=, version_name= and commit=.
#
# The tag agent-vMAJOR.MINOR.PATCH that is nearest in the history names it; the code is MAJOR*1000000 + MINOR*1000 + PATCH, so MINOR and
# PATCH go up to 999 and MAJOR up to 2099. Commits after the tag keep its code and show in the name: 1.2.3-5-gabc1234. Without a tag it is
# 0.1.0. NEXMDM_AGENT_VERSION_CODE and NEXMDM_AGENT_VERSION_NAME override each.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

commit=$(git -C "$agent_dir" rev-parse HEAD 2>/dev/null || echo "${NEXMDM_AGENT_COMMIT:-unknown}")
described=$(git -C "$agent_dir" describe --tags --match 'agent-v[0-9]*' 2>/dev/null || echo agent-v0.1.0)
name=${NEXMDM_AGENT_VERSION_NAME:-${described#agent-v}}
code=${NEXMDM_AGENT_VERSION_CODE:-}
if [ -z "$code" ]; then
    [[ $described =~ ^agent-v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9]+-g[0-9a-f]+)?$ ]] ||
        fail "the tag $described is not agent-vMAJOR.MINOR.PATCH"
    major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]} patch=${BASH_REMATCH[3]}
    if [ "${#major}" -gt 4 ] || [ "$major" -gt 2099 ] || [ "${#minor}" -gt 3 ] || [ "${#patch}" -gt 3 ]; then
        fail "the tag $described leaves the range 0.0.1 to 2099.999.999"
    fi
    code=$((major * 1000000 + minor * 1000 + patch))
fi
[[ $code =~ ^[1-9][0-9]{0,9}$ && $code -le 2100000000 ]] || fail "the version code has to be 1 to 2100000000: $code"
[[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$ ]] || fail "the version name has to be up to 64 letters, digits, dots, plus and minus: $name"
printf 'version_code=%s\nversion_name=%s\ncommit=%s\n' "$code" "$name" "$commit"

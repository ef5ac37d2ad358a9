#!/usr/bin/env bash
# Mutates the check of command signatures and runs its tests against every mutant: each that survives is a hole in the tests.
# Needs compiled classes.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"
maven -pl core test-compile org.pitest:pitest-maven:mutationCoverage

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check_generate.sh - what the generator prints, judged: by Istio's schemas and rules, by an independent model
# on hostile input and beside random clusters, and its options by the contract.
# Owns: the list of judges. Must not know: what they check; they print the test protocol themselves.
set -uo pipefail

status=0
for judge in validate_crds hostile registry_sets agent_plan options; do
	"$(dirname "$0")/$judge.py" || status=1
done
exit "$status"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_kube.sh - the Kubernetes client against the stand-in API server (kube_follow.py). Needs no privilege.
set -euo pipefail
exec /usr/bin/python3 "$(dirname "$0")/kube_follow.py" "$@"

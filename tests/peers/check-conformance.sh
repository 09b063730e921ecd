#!/usr/bin/env bash
# Malformed and odd requests are answered as they were when `conformance.expected` was written; see docs/conformance.md.
#
#   OUTRIGGER_BIN=target/release/outrigger tests/peers/check-conformance.sh
set -euo pipefail
: "${OUTRIGGER_BIN:?set it to the binary under test}"
exec timeout 120 python3 "$(dirname "${BASH_SOURCE[0]}")/conformance.py" --bin "$OUTRIGGER_BIN" --check

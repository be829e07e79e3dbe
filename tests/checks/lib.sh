# shellcheck shell=bash
# lib.sh: what the checks share. Sourced by each; they run from the tree's root
# and print nothing when all is well.
#
# shellcheck disable=SC2034  # names for the scripts that source this
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

CHECK=tests/checks/$(basename -- "$0")
# Where `make build` left what is installed.
PACKAGE=${CARGO_TARGET_DIR:-target}/package
read -ra CARGO <<<"${CARGO:-tests/with-toolchain cargo}"

wrong=0
complain() {
    printf '%s: %s\n' "$CHECK" "$*" >&2
    wrong=1
}
warn() { printf '%s: warning: %s\n' "$CHECK" "$*" >&2; }
conclude() { exit "$wrong"; }

built() { [ -e "$PACKAGE/$1" ] || { complain "$PACKAGE/$1 is missing: run make first"; exit 1; }; }

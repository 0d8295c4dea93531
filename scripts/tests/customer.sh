# shellcheck shell=bash
# A platform with one customer, in a database of its own on DATABASE_URL's server: for the tests beside this file, which source it. They find
# $folder for their files, $started for the processes that end with them, and after make_customer $standalone, $url and $key.

: "${DATABASE_URL:?}" "${REDIS_URL:?}"
name=${0##*/}
# A slow machine must miss no deadline.
export DATABASE_TIMEOUT_MS=20000 REDIS_TIMEOUT_MS=20000 REQUEST_TIMEOUT_MS=60000 SHUTDOWN_GRACE_MS=60000
folder=$(mktemp -d "$PWD/.local/$name-XXXXXX")
started=()
clean_up() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    [ ! -s "$folder/database" ] || psql -qX "$DATABASE_URL" -c "DROP DATABASE $(cat "$folder/database") WITH (FORCE)" || true
    rm -rf "$folder"
}
trap clean_up EXIT
passed=0
pass() { passed=$((passed + 1)); echo "ok: $*"; }
fail() {
    echo "$name: $*" >&2
    [ ! -f "$folder/log" ] || cat "$folder/log" >&2
    exit 1
}
command -v psql >/dev/null || PATH=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1):$PATH

make_customer() {
    local database=${name}_$$ base=${DATABASE_URL%%\?*}
    standalone=${CARGO_TARGET_DIR:-target}/debug/standalone
    # As the tests have built it, with what they need: nothing is compiled twice.
    cargo build --quiet --workspace --all-features --tests --bin standalone
    psql -qX "$DATABASE_URL" -c "CREATE DATABASE $database"
    echo "$database" >"$folder/database"
    url=${base%/*}/$database${DATABASE_URL#"$base"}
    ROOT_KEY_FILE=$folder/root.pem SEALING_KEY=$(head -c 32 /dev/urandom | base64)
    export ROOT_KEY_FILE SEALING_KEY
    "$standalone" make-root "$ROOT_KEY_FILE" >/dev/null
    DATABASE_URL=$url "$standalone" migrate >/dev/null
    DATABASE_URL=$url "$standalone" keys rotate >/dev/null
    # shellcheck disable=SC2034 # for whoever sources this
    key=$(DATABASE_URL=$url "$standalone" bootstrap --tenant "$name" --owner-email "owner@$name.example" --seats 1 --json | jq -r .license_key)
}

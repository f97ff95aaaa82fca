#!/bin/bash
# Sets up everything that `make demo` and `make test` need, and says what it does:
#   1. Debian packages that are missing (apt-get as root; as a user sudo is called for this step only),
#   2. .venv with the pinned Python packages (packaging/*.lock, checked by hash),
#   3. smbfuse itself in .venv, editable, with its native module, and compiled.
# Does nothing, offline too, when all is there. `setup.sh bench` adds what only the benchmarks compare with, `setup.sh
# programs` what only the long runs of other people's programs need.
set -euo pipefail
cd "$(dirname "$0")/.."
# One at a time: two runs of make in one checkout would fill .venv together.
exec 9<packaging/setup.sh
flock 9

packages=(
    fuse3 libfuse3-dev pkg-config                # FUSE and what pyfuse3 is built with
    gcc libc6-dev python3 python3-dev python3-venv
    samba samba-vfs-modules smbclient            # the real server of tests and demo (snapshots are a VFS module), its client
    cifs-utils acl                               # getcifsacl and getfacl, which tests run on the mount
    git patch rsync sqlite3 tar unzip vim-tiny zip # demanding users of file systems, in the tests
    faketime                                     # a server whose clock is wrong
)
case ${1:-} in
    bench) packages+=(smbnetfs) ;;
    programs)
        packages+=(fio stress-ng)
        # Debian has CPython's own tests in a package of their own (Debian 12's if there is no Python yet to ask).
        python3 -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("test.test_os"))' 2>/dev/null ||
            packages+=("libpython$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' || echo 3.11)-testsuite")
        ;;
esac
stamp=.venv/smbfuse-setup.stamp

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

missing_packages() {
    local known package
    known=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)
    for package in "${packages[@]}"; do
        grep -qx "$package installed" <<<"$known" || echo "$package"
    done
}

# Runs as root, in a shell of its own: the one thing that needs root is readable in one place. Debian starts a file server
# as soon as samba is installed; on a machine that had none, nobody asked for that. So while apt works a policy-rc.d (removed
# at the end, whatever happens) keeps Samba's services from starting, and they are not enabled for the next boot.
# A Samba that was there before is not touched.
install_as_root='
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
services="smbd nmbd samba-ad-dc"
fresh_samba=
case " $* " in *" samba "*) fresh_samba=yes ;; esac
if [ -n "$fresh_samba" ] && [ ! -e $policy ]; then
    trap "rm -f $policy" EXIT
    trap "exit 130" INT TERM HUP
    printf "#!/bin/sh\ncase \$1 in smbd|nmbd|samba-ad-dc) exit 101 ;; esac\nexit 0\n" >$policy
    chmod 755 $policy
fi
apt-get update -qq
apt-get install -qq -y --no-install-recommends "$@" >/dev/null
if [ -n "$fresh_samba" ] && command -v systemctl >/dev/null; then
    systemctl disable --quiet $services 2>/dev/null || true
fi
'

install_packages() {
    command -v apt-get >/dev/null || die "these packages are missing, and this is no Debian system: $*"
    say "installing Debian packages: $*"
    if [ "$(id -u)" = 0 ]; then
        sh -c "$install_as_root" setup "$@"
    elif command -v sudo >/dev/null; then
        say "calling sudo for apt-get (and for keeping a newly installed Samba from starting as a service)"
        sudo sh -c "$install_as_root" setup "$@"
    else
        die "run as root: apt-get install --no-install-recommends $*"
    fi
}

check_fuse() {
    [ -c /dev/fuse ] && return
    say "WARNING: /dev/fuse is missing, so nothing can be mounted. Load the kernel module (modprobe fuse);"
    say "         in a container start it with --device /dev/fuse --cap-add SYS_ADMIN."
}

# A Python that can make a venv and has its headers: the machine's default if it will do, else Debian's.
choose_python() {
    local python
    for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if "$python" - 2>/dev/null <<'PYTHON'
import ensurepip, os, sys, sysconfig, venv
sys.exit(sys.version_info < (3, 11) or not os.path.exists(sysconfig.get_path("include") + "/Python.h"))
PYTHON
        then
            echo "$python"
            return
        fi
    done
    die "no Python 3.11 or later with venv and headers found (Debian: python3-dev python3-venv)"
}

# Where .venv lies and what Python it was made with: scripts in a venv survive a change of neither.
venv_identity() { echo "$PWD $(.venv/bin/python --version 2>&1)"; }

# What the contents of .venv follow from.
wanted_state() {
    venv_identity
    sha256sum packaging/build.lock packaging/requirements.lock pyproject.toml smbfuse/fuse/_native.c packaging/setup.sh
}

venv_usable() {
    .venv/bin/python -c 'import pip' 2>/dev/null || return
    [ ! -e "$stamp" ] || [ "$(head -n 1 "$stamp")" = "$(venv_identity)" ]
}

fill_venv() {
    local python pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input)
    if ! venv_usable; then
        python=$(choose_python)
        say "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    fi
    rm -f "$stamp"
    say "installing pinned Python packages into .venv"
    "${pip[@]}" install --quiet --require-hashes --no-deps -r packaging/build.lock
    "${pip[@]}" install --quiet --require-hashes --no-deps --no-build-isolation -r packaging/requirements.lock
    say "installing smbfuse into .venv (editable, with its native module)"
    "${pip[@]}" install --quiet --no-deps --no-build-isolation --editable .
    # pip says nothing where an optional extension does not build.
    .venv/bin/python -c 'import smbfuse.fuse._native' 2>/dev/null ||
        say "WARNING: the native module was not built (gcc, libfuse3-dev?); mounts will do without it"
}

mapfile -t missing < <(missing_packages)
[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
check_fuse

if [ ! -x .venv/bin/smbfuse ] || [ "$(cat "$stamp" 2>/dev/null)" != "$(wanted_state)" ]; then
    fill_venv
    wanted_state >"$stamp"
    say "done: .venv/bin/smbfuse"
fi

# Where Python is not to write bytecode (PYTHONDONTWRITEBYTECODE) each mount would compile everything anew: a third of a
# second. What is compiled already is left; nothing else depends on it, so who may not write here goes on without.
.venv/bin/python -m compileall -qq smbfuse || say "not compiled ahead: each mount takes a third of a second more"

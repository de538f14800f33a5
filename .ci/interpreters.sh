# Sourced by the other scripts here: where the supported versions of Python are.

interpreter() { # interpreter 3.11: the path of that Python
    local version candidate
    if command -v pyenv >/dev/null; then
        version=$(pyenv versions --bare | grep "^${1//./\\.}\." | tail -n 1 || true)
        candidate=$(pyenv root)/versions/$version/bin/python
        [[ -n $version && -x $candidate ]] && { echo "$candidate"; return; }
    fi
    candidate=$(command -v "python$1") && "$candidate" -c '' && { echo "$candidate"; return; }
    echo "there is no Python $1 here" >&2
    return 1
}

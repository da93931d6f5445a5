#!/usr/bin/env bash
# Checks and times mpuc on an NVIDIA GPU and writes a report for kernels/RESULTS.md.
#
# usage: kernels/on-gpu.sh [--device cuda|sim] [--binary FILE] [--out DIR] [--only PART] [--fail PART]
#
#   --device  cuda (default), or sim: the simulated GPU, with few cases, to test this script on any machine
#   --binary  the program; default: target/release/mpuc, or mpuc beside this script
#   --out     the folder of the results; default: target/on-gpu
#   --only    run only this part: doctor, gradcheck, smoke, bench-ops, kernels, model, bench-model,
#             pytorch or sanitizer
#   --fail    make this part fail, to test what follows a failure
#
# Needs NVIDIA's driver, python3 (with PyTorch, for the part pytorch and for its NVRTC), and of the repository only
# kernels/on-gpu.sh, kernels/on_gpu, tests/pytorch and tests/fixtures/make. PYTHON names another Python; MPUC_COMMIT
# names the commit where there is no git.
# Every part has a time limit below 9 minutes. A part that passed is not run again with the same --out.
# Exit code: 0 if no part failed, 4 if one failed, 2 for wrong options.
set -u -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
parts=(doctor gradcheck smoke bench-ops kernels model bench-model pytorch sanitizer)
device=cuda binary='' out=$root/target/on-gpu only='' fail='' child=''

stop() {
    echo "on-gpu.sh: $1" >&2
    exit 2
}

is_part() {
    [[ " ${parts[*]} " == *" $1 "* ]] || stop "there is no part $1; the parts are ${parts[*]}"
}

while (($#)); do
    if [[ $1 == --help ]]; then
        sed -n '2,/^set -u /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 0
    fi
    (($# > 1)) || stop "$1: unknown option, or its value is missing; see --help"
    case $1 in
        --device) device=$2 ;;
        --binary) binary=$2 ;;
        --out) out=$2 ;;
        --only) is_part "$2" && only=$2 ;;
        --fail) is_part "$2" && fail=$2 ;;
        *) stop "unknown option $1; see --help" ;;
    esac
    shift 2
done
[[ $device == cuda || $device == sim ]] || stop "--device: cuda or sim is needed, not $device"
if [[ -z $binary ]]; then
    binary=$root/target/release/mpuc
    [[ -x $binary ]] || binary=$here/mpuc
fi
[[ -f $binary && -x $binary ]] || stop "there is no program at $binary; name it with --binary"
PYTHON=${PYTHON:-python3}
command -v "$PYTHON" > /dev/null || stop "there is no $PYTHON; install Python 3, or set PYTHON"

# What the parts use. They run in the repository's folder, and find the program as `mpuc`.
mkdir -p "$out/bin" || stop "the folder $out cannot be made; name another with --out"
OUT=$(cd "$out" && pwd)
ln -sf "$(realpath "$binary")" "$OUT/bin/mpuc"
PATH=$OUT/bin:$PATH
DEVICE=$device
MPUC_NVRTC=${MPUC_NVRTC:-$("$PYTHON" "$here/on_gpu/nvrtc.py")}
export OUT PATH DEVICE PYTHON MPUC_NVRTC
cd "$root" || exit 2
limit=520 CASES=20
[[ $device == cuda ]] || limit=120 CASES=0
export CASES

# Results of another program or GPU must not get into one report.
smi=''
if [[ $device == cuda ]] && command -v nvidia-smi > /dev/null; then
    smi=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2> /dev/null | head -n 1)
fi
sum=$(sha256sum < "$binary" | cut -c 1-16)
stamp="$sum $device $smi"
if [[ -f $OUT/stamp && $(< "$OUT/stamp") != "$stamp" ]]; then
    stop "$OUT has results of another program, device or driver; remove it, or name another folder with --out"
fi
echo "$stamp" > "$OUT/stamp"

verdict() {
    case $1 in
        0) echo passed ;;
        77) echo 'not available' ;;
        124) echo 'FAILED: time limit' ;;
        137) echo 'FAILED: killed' ;;
        *) echo FAILED ;;
    esac
}

# Output of a part in Markdown: no control characters, and no path of this machine.
clean() {
    tr -d '\r\033' | sed -e "s|$OUT|OUT|g" -e "s|$root/||g"
}

# The tables in a file, with an empty line between two of them; fails if there is none.
tables() {
    awk '/^\| / { if ($0 ~ /^\| ---/ && count++) print ""; if (held) print held; held = $0 }
        END { if (!held) exit 1; print held }' "$1"
}

# Exit code, seconds and date of a part that was run.
result_of() {
    read -r rc seconds date 2> /dev/null < "$OUT/$1.rc"
}

report() {
    local part rc seconds date gpu=$smi commit
    commit=${MPUC_COMMIT:-$(git rev-parse --short HEAD 2> /dev/null || echo unknown)}
    [[ -n $gpu ]] || gpu=$(mpuc doctor 2> /dev/null | sed -n 's/^cuda:0 *ok *//p')
    [[ $device == cuda ]] || gpu="Simulated GPU (nothing here was measured on a GPU)"
    printf '## %s, %s\n\n' "${gpu:-No GPU was found}" "$(date -u +%F)"
    [[ -z $smi ]] || printf 'Name, driver and memory are from nvidia-smi. '
    printf '%s (sha256 %s), commit of the folder: %s. Made by ' "$(mpuc --version)" "$sum" "$commit"
    printf 'kernels/on-gpu.sh --device %s. A figure that is not here was not measured.\n\n' "$device"
    printf '| part | result | exit code | s | date |\n| --- | --- | --- | --- | --- |\n'
    for part in "${parts[@]}"; do
        if result_of "$part"; then
            printf '| %s | %s | %s | %s | %s |\n' "$part" "$(verdict "$rc")" "$rc" "$seconds" "$date"
        else
            printf '| %s | not run | - | - | - |\n' "$part"
        fi
    done
    for part in "${parts[@]}"; do
        result_of "$part" || continue
        printf '\n### %s: %s\n\n' "$part" "$(verdict "$rc")"
        grep '^\$ ' "$OUT/$part.log" | clean | sed 's/^/    /' && echo
        if tables "$OUT/$part.log" | clean; then
            [[ $rc != 0 ]] || continue
            echo
        fi
        printf 'The last lines:\n\n'
        grep -v -e '^| ' -e '^\$ ' "$OUT/$part.log" | tail -n 15 | clean | sed 's/^/    /'
    done
}

run_part() {
    local part=$1 rc seconds date begin run
    if [[ $part != "$fail" ]] && result_of "$part" && [[ $rc == 0 ]]; then
        echo "$part: passed before ($seconds s)"
        return 0
    fi
    run=(bash kernels/on_gpu/parts.sh "$part")
    [[ $part != "$fail" ]] || run=(bash -c "echo 'made to fail by --fail'; exit 1")
    rm -f "$OUT/$part.rc"
    begin=$(date +%s.%N)
    # In the background, so that a signal to this script stops the part at once.
    timeout -k 10 "$limit" "${run[@]}" > "$OUT/$part.log" 2>&1 < /dev/null &
    child=$!
    wait "$child"
    rc=$?
    child=''
    seconds=$(awk "BEGIN { printf \"%.1f\", $(date +%s.%N) - $begin }")
    echo "$rc $seconds $(date -u +%F)" > "$OUT/$part.rc"
    echo "$part: $(verdict "$rc"), exit code $rc, $seconds s"
    [[ $rc == 0 || $rc == 77 ]]
}

trap '[[ -z $child ]] || kill "$child" 2> /dev/null; exit 130' INT TERM
failed=0
for part in "${parts[@]}"; do
    [[ -z $only || $only == "$part" ]] || continue
    run_part "$part" || failed=4
    # After every part: a script that is stopped leaves a report of what was run.
    report > "$OUT/report.md"
done
echo "report: $OUT/report.md"
exit "$failed"

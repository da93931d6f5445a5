#!/usr/bin/env bash
# `parts.sh PART` runs one part for on-gpu.sh, which sets OUT, DEVICE, CASES and PYTHON, the folder and the PATH.
#
# Exit code: 0 if it passed, 77 if it is not available on this machine; any other is a failure. Lines that begin with
# `$ ` (commands) and `| ` (tables) get into the report.
set -u -o pipefail

step() {
    echo "\$ $*"
    "$@"
}

not_available() {
    echo "not available: $*"
    exit 77
}

case $1 in
    doctor)
        # An error of nvidia-smi is in the output; what decides is whether this program can use the device.
        [[ $DEVICE != cuda ]] || step nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
        step mpuc doctor
        if ! mpuc doctor | grep -Eq -e "^--device $DEVICE +works"; then
            echo "--device $DEVICE does not work on this machine"
            exit 4
        fi
        ;;
    gradcheck)
        step "$PYTHON" kernels/on_gpu/gradcheck.py "$DEVICE" "$CASES" "$OUT"
        ;;
    smoke)
        train=(mpuc train --preset smoke --set 'steps=3' --set 'arms=[mpuc]' --fresh --quiet)
        step "${train[@]}" --device cpu --out "$OUT/smoke-cpu" &&
            step "${train[@]}" --device "$DEVICE" --out "$OUT/smoke-device" &&
            step "$PYTHON" kernels/on_gpu/losses.py "$OUT/smoke-cpu" "$OUT/smoke-device"
        ;;
    bench-ops)
        few=()
        [[ $DEVICE == cuda ]] || few=(--only softmax --repeats 1)
        step mpuc bench ops --device "$DEVICE" --markdown "${few[@]}"
        ;;
    kernels)
        # Where a step's time goes, for the step that RESULTS.md is about.
        case=(--only mpuc/step --batch 32)
        [[ $DEVICE == cuda ]] || case=(--only voice/fwd --batch 2 --repeats 1)
        step mpuc bench model --device "$DEVICE" "${case[@]}" --kernels --markdown
        ;;
    model)
        # Measured beside modelled.
        case=(--batch 32)
        [[ $DEVICE == cuda ]] || case=(softmax --gpu h100)
        step mpuc kernels model "${case[@]}" --device "$DEVICE"
        ;;
    bench-model)
        step "$PYTHON" kernels/on_gpu/cases.py mpuc "$DEVICE" "$OUT"
        ;;
    pytorch)
        step "$PYTHON" kernels/on_gpu/cases.py pytorch "$DEVICE" "$OUT"
        ;;
    sanitizer)
        [[ $DEVICE == cuda ]] || not_available "compute-sanitizer needs a GPU"
        command -v compute-sanitizer > /dev/null || not_available "compute-sanitizer is not in the PATH"
        step compute-sanitizer --error-exitcode 9 mpuc gradcheck --device cuda --cases 0
        ;;
esac

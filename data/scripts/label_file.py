#!/usr/bin/env python3
"""Makes a manifest from a label file of CREMA-D or MSP-IMPROV in the form that VAVL's authors publish.

    label_file.py LABELS.csv FOLDER MANIFEST.csv

Files are found below FOLDER by the names in the column `FileName`. Each folder in FOLDER that has some is a column of the
manifest with the folder's name in lower case: AudioWAV/1001_DFA_ANG_XX.wav is in `audiowav`. Where a name has several files
in one folder, .npy, .wav, .mp4, .flv and .csv are taken in this order.

CREMA-D's columns angry, sad, disgust, fear, neutral and happy are shares of annotators: the class is the largest. MSP-IMPROV's
EmoAct, EmoVal and EmoDom, 1 to 5, become the attributes arousal, valence and dominance. `Split_Set` becomes `part`; of
MSP-IMPROV the group is the session, whose two speakers hear each other.
"""

import csv
import os
import sys
from pathlib import Path

ENDINGS = [".npy", ".wav", ".mp4", ".flv", ".csv"]
PARTS = {"train": "train", "development": "valid", "test": "test"}
CLASSES = ["angry", "sad", "disgust", "fear", "neutral", "happy"]
ATTRIBUTES = {"EmoAct": "arousal", "EmoVal": "valence", "EmoDom": "dominance"}


def fail(message):
    sys.exit(f"label_file.py: {message}")


def number(row, column, line, low, high):
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        fail(f"line {line}: `{column}` is {row[column]!r}; expected a number")
    if not low <= value <= high:
        fail(f"line {line}: `{column}` is {value}; expected {low} to {high}")
    return value


def labels(row, line):
    """The cells of the label, with the names of their columns."""
    if all(column in row for column in CLASSES):
        shares = [number(row, column, line, 0.0, 1.0) for column in CLASSES]
        return {"label": CLASSES[shares.index(max(shares))]}
    if all(column in row for column in ATTRIBUTES):
        return {f"attribute:{name}": number(row, column, line, 1.0, 5.0) for column, name in ATTRIBUTES.items()}
    fail(f"the columns are {', '.join(row)}; expected {', '.join(CLASSES)} or {', '.join(ATTRIBUTES)}")


def main(sheet, folder, out):
    folder = Path(folder)
    if not folder.is_dir():
        fail(f"{folder}: is no folder; give the one that contains the folders of recordings or features")
    found = {}
    for path in sorted(folder.rglob("*")):
        ending = path.suffix.lower()
        if path.is_file() and ending in ENDINGS and len(path.relative_to(folder).parts) > 1:
            column = path.relative_to(folder).parts[0].lower()
            known = found.setdefault(path.stem, {}).get(column)
            if known is None or ENDINGS.index(ending) < ENDINGS.index(known.suffix.lower()):
                found[path.stem][column] = path
    rows, missing = [], 0
    with open(sheet, newline="", encoding="utf-8-sig") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            name = row["FileName"] if "FileName" in row else fail(f"{sheet}: has no column FileName")
            stem = Path(name).stem if Path(name).suffix.lower() in ENDINGS + [".avi"] else name
            files = found.get(stem)
            if files is None:
                missing += 1
                continue
            part = PARTS.get(row.get("Split_Set", "").lower())
            if part is None:
                fail(f"line {line}: `Split_Set` is {row.get('Split_Set')!r}; expected Train, Development or Test")
            speaker = row.get("SpkrID") or fail(f"line {line}: has no `SpkrID`")
            session = f"session {speaker[-2:]}" if "EmoAct" in row else speaker
            rows.append({"id": stem, "group": session, "part": part} | labels(row, line) | files)
    if not rows:
        fail(f"{sheet}: none of its {missing} names has a file in a folder below {folder}")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    base = Path(out).resolve().parent
    with open(out, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for row in rows:
            paths = {key: os.path.relpath(value, base) for key, value in row.items() if isinstance(value, Path)}
            table.writerow(row | paths)
    print(f"{len(rows)} samples, columns {', '.join(columns)}" + (f"; {missing} names have no file" if missing else ""))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (OSError, UnicodeDecodeError) as error:
        fail(error)

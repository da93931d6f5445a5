#!/usr/bin/env python3
"""Small seeds for the targets: a large seed makes every run slow.

    python3 seeds.py SEEDS        # SEEDS/video, SEEDS/manifest, SEEDS/openface, ...

Needs Pillow, and ffmpeg with libx264 for the videos.
"""

import json
import pathlib
import struct
import subprocess
import sys

from PIL import Image, PngImagePlugin


def video(folder):
    kinds = {"cavlc": "cabac=0:bframes=0:8x8dct=0", "b": "bframes=2:8x8dct=1", "slices": "bframes=0:slices=2"}
    common = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bsf:v", "filter_units=remove_types=6"]
    files = {f"{name}.mp4": ["-frames:v", "4", *common, "-x264-params", kind] for name, kind in kinds.items()}
    files["one.mp4"] = ["-frames:v", "1", *common]
    files["fragments.mp4"] = ["-frames:v", "3", *common, "-movflags", "frag_keyframe+empty_moov"]
    for name, options in files.items():
        source = ["-f", "lavfi", "-i", "testsrc=size=32x32:rate=25"]
        subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *source, *options, folder / name], check=True)


def manifest(folder):
    (folder / "plain.csv").write_text('id,label,group,part,voice,text\na,sad,1,train,,text:x\nb,2,1,test,,text:"a ""b"""\n')
    (folder / "excel.csv").write_text("sep=;\nid;labels;t\n1;sad|x;text:y\n\n;;\n2;-;text:x\n")
    (folder / "mark.csv").write_bytes(b"\xef\xbb\xbfid\tlabel\tt\r\n1\t\ttext:b\r\n")


def openface(folder):
    names = [f"{axis}_{point}" for axis in "xy" for point in range(68)]
    for separator in ",;":
        rows = [["frame", "face_id", "timestamp", "confidence", "success", *names]]
        for frame in (1, 2, 4):
            rows.append([frame, 0, frame / 25, 0.9, 1, *[7] * 136])
        rows.append([5, 1, 0.2, "-1.#IND", 0, *["-nan(ind)"] * 136])
        text = "\n".join(separator.join(map(str, row)) for row in rows)
        (folder / f"{ord(separator)}.csv").write_text(text.replace(".", ",") if separator == ";" else text)


def pictures(folder):
    picture = Image.radial_gradient("L").resize((17, 9)).convert("RGB")
    xmp = '<x:xmpmeta><a tiff:Orientation="6"/></x:xmpmeta>'
    exif = Image.Exif()
    exif[0x112] = 8
    picture.save(folder / "exif.jpg", exif=exif)
    picture.save(folder / "progressive.jpg", progressive=True, xmp=xmp.encode())
    picture.convert("L").save(folder / "restarts.jpg", restart_marker_blocks=1)
    picture.save(folder / "rgb.bmp")
    picture.quantize(4).save(folder / "palette.bmp")
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp, zip=True)
    picture.save(folder / "rgb.png", pnginfo=text)
    picture.quantize(4).save(folder / "palette.png", exif=exif)


def glove(folder):
    (folder / "plain.txt").write_text("the 0.1 -2 3e-1\n. 1 2 3\nword's 4 5 6\n3.5 0 0 1\n")
    (folder / "header.txt").write_text("2 3\nthe 0.1 -2 3e-1\nof a 1 2 3\n")
    (folder / "mark.txt").write_bytes(b"\xef\xbb\xbfthe 1 2\r\n\xc3\xa9t 3 4\r\n")


def checkpoint(folder):
    for version, state in ((2, {"update": 3, "names": ["a"]}), (1, {})):
        entry = {"version": version, "checksum": "0" * 32, "state": state}
        tensors = {"a": ("F32", [2, 1]), "b.c": ("I64", [1]), "d": ("BF16", [3])}
        header, at = {"__metadata__": {"mpuc": json.dumps(entry, separators=(",", ":"))}}, 0
        for name, (kind, shape) in tensors.items():
            size = {"F32": 4, "I64": 8, "BF16": 2}[kind] * shape[0]
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header, separators=(",", ":")).encode()
        (folder / f"{version}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


if __name__ == "__main__":
    for make in (video, manifest, openface, pictures, glove, checkpoint):
        path = pathlib.Path(sys.argv[1]) / make.__name__
        path.mkdir(parents=True, exist_ok=True)
        make(path)

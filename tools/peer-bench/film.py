"""Writes a film of 2048 × 2048 pixels of 16 bits, uncompressed, made of a smaller one.

    film.py SOURCE OUT
"""

import sys

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

SIDE = 2048


def main():
    source, out = sys.argv[1:]
    data = pydicom.dcmread(source)
    values = data.pixel_array.astype(np.float32)
    large = np.asarray(Image.fromarray(values).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    low, high = values.min(), values.max()
    greys = np.clip((large - low) / (high - low), 0, 1) * 65535
    data.set_pixel_data(np.rint(greys).astype("<u2"), data.PhotometricInterpretation, 16, generate_instance_uid=True)
    for keyword in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "PixelSpacing", "ImagerPixelSpacing"):
        if keyword in data:
            delattr(data, keyword)
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.save_as(out, enforce_file_format=True)


if __name__ == "__main__":
    main()

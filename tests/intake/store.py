"""Sends every image of a folder that the listener takes, each in its own transfer syntax, and prints the statuses.

    store.py PORT FOLDER [CERTIFICATE KEY CA]

With files in PEM it speaks TLS.
"""

import ssl
import sys
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE

CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
}

port, folder = int(sys.argv[1]), Path(sys.argv[2])
tls = None
if len(sys.argv) > 3:
    certificate, key, ca = sys.argv[3:]
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    context.load_cert_chain(certificate, key)
    tls = (context, "127.0.0.1")
for number, path in enumerate(sorted(folder.glob("*.dcm"))):
    image = dcmread(path)
    if image.get("SOPClassUID") not in CLASSES:
        continue
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    syntax = image.file_meta.TransferSyntaxUID
    ae = AE(ae_title="XRAY1")
    ae.add_requested_context(image.SOPClassUID, syntax)
    association = ae.associate("127.0.0.1", port, ae_title="LIGHTBOX", tls_args=tls)
    if not association.is_established:
        sys.exit(f"{path.name}: no association")
    status = association.send_c_store(image)
    association.release()
    print(syntax, path.name, f"{status.Status:04x}" if status else "none")

"""Stores an image, asks for storage commitment of it, of it under another class, and of one that was never sent, and
prints what is reported on the same association: the event type, then a line "ok UID" or "failed UID REASON" for each.

    commit.py PORT IMAGE
"""

import sys
import threading

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

WELL_KNOWN = "1.2.840.10008.1.20.1.1"
port, image = int(sys.argv[1]), dcmread(sys.argv[2])
lines = []
seen, reported = threading.Event(), threading.Event()


def on_report(event):
    report = event.event_information
    lines.append(f"event {event.event_type} {report.TransactionUID}")
    for item in report.get("ReferencedSOPSequence", []):
        lines.append(f"ok {item.ReferencedSOPInstanceUID}")
    for item in report.get("FailedSOPSequence", []):
        lines.append(f"failed {item.ReferencedSOPInstanceUID} {item.FailureReason:04x}")
    seen.set()
    return 0x0000, None


def on_sent(event):
    # The first PDU after the report is the answer to it; what is sent before it would get in its way.
    if seen.is_set():
        reported.set()


def request(*objects):
    asked = Dataset()
    asked.TransactionUID = "1.2.3.99"
    asked.ReferencedSOPSequence = []
    for sop_class, instance in objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        asked.ReferencedSOPSequence.append(item)
    seen.clear()
    reported.clear()
    status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, WELL_KNOWN)
    lines.append(f"{status.Status:04x}")
    if not reported.wait(60):
        sys.exit("no report came")


ae = AE(ae_title="XRAY1")
ae.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
ae.add_requested_context(StorageCommitmentPushModel)
handlers = [(evt.EVT_N_EVENT_REPORT, on_report), (evt.EVT_PDU_SENT, on_sent)]
association = ae.associate("127.0.0.1", port, ae_title="LIGHTBOX", evt_handlers=handlers)
if not association.is_established:
    sys.exit("no association")
lines.append(f"{association.send_c_store(image).Status:04x}")
request((image.SOPClassUID, image.SOPInstanceUID))
request(
    (image.SOPClassUID, image.SOPInstanceUID),
    (image.SOPClassUID, "1.2.3.4"),
    ("1.2.840.10008.5.1.4.1.1.7", image.SOPInstanceUID),
)
association.release()
print("\n".join(lines))

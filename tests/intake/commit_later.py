"""Asks for storage commitment and leaves; takes the report later, on an association of the listener's.

    commit_later.py ask PORT IMAGE      stores the image, asks, refuses the report on this association, leaves
    commit_later.py take PORT           listens until a report has been taken, and prints it

Three more arguments, a certificate, its key and a CA in PEM, make it speak TLS.
"""

import ssl
import sys
import threading

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

WELL_KNOWN = "1.2.840.10008.1.20.1.1"


def secured(purpose, files):
    if not files:
        return None
    certificate, key, ca = files
    context = ssl.create_default_context(purpose, cafile=ca)
    context.load_cert_chain(certificate, key)
    if purpose == ssl.Purpose.CLIENT_AUTH:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def ask(port, path, files):
    image = dcmread(path)
    # Without a handler pynetdicom answers the report with a failure.
    ae = AE(ae_title="XRAY1")
    ae.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
    ae.add_requested_context(StorageCommitmentPushModel)
    context = secured(ssl.Purpose.SERVER_AUTH, files)
    tls = (context, "127.0.0.1") if context else None
    association = ae.associate("127.0.0.1", port, ae_title="LIGHTBOX", tls_args=tls)
    if not association.is_established:
        sys.exit("no association")
    if association.send_c_store(image).Status != 0:
        sys.exit("not stored")
    asked, item = Dataset(), Dataset()
    asked.TransactionUID = "1.2.3.77"
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    asked.ReferencedSOPSequence = [item]
    status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, WELL_KNOWN)
    print(f"{status.Status:04x}")
    association.abort()


def take(port, files):
    lines, done = [], threading.Event()

    def on_report(event):
        report = event.event_information
        lines.append(f"event {event.event_type} {report.TransactionUID} from {event.assoc.requestor.ae_title}")
        lines.extend(f"ok {item.ReferencedSOPInstanceUID}" for item in report.ReferencedSOPSequence)
        return 0x0000, None

    ae = AE(ae_title="XRAY1")
    ae.require_called_aet = True
    # Whoever asks for the association is the SCP of this service.
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, on_report), (evt.EVT_RELEASED, lambda event: done.set())]
    context = secured(ssl.Purpose.CLIENT_AUTH, files)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=context)
    if not done.wait(90):
        sys.exit("no report came")
    server.shutdown()
    print("\n".join(lines))


if sys.argv[1] == "ask":
    ask(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
else:
    take(int(sys.argv[2]), sys.argv[3:])

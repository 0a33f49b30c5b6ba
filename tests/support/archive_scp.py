"""An archive by pynetdicom that answers as it is told: PORT FOLDER STATUSES CLASSES.

STATUSES is a JSON list with the status for each object in turn, "abort" to abort the association instead; after the
last one all are stored. CLASSES is a JSON list of the SOP classes that are accepted. What is stored becomes a file in
FOLDER, named by its SOP Instance UID; one that comes again gets another dot.
"""

import json
import pathlib
import sys

from pynetdicom import AE, evt

port, folder, statuses, classes = int(sys.argv[1]), pathlib.Path(sys.argv[2]), *map(json.loads, sys.argv[3:5])


def store(event):
    status = statuses.pop(0) if statuses else 0
    if status == "abort":
        event.assoc.abort()
        return 0xC001
    if status == 0 or 0xB000 <= status <= 0xBFFF:
        path = folder / event.request.AffectedSOPInstanceUID
        while path.exists():
            path = path.with_name(path.name + ".")
        path.write_bytes(event.encoded_dataset())
    return status


ae = AE(ae_title="ARCHIVE")
for uid in classes:
    ae.add_supported_context(uid)
server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
print("ready", flush=True)
sys.stdin.read()
server.shutdown()

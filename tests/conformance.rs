//! `docs/conformance.md` is made from the tables that the listener uses. `LIGHTBOX_BLESS=1 cargo test --test
//! conformance` writes it anew.
#![cfg(feature = "device")]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use lightbox::adapters::archive::{
    ANSWER, ASSOCIATION, CONNECT, LONGEST_PAUSE, NETWORK, PDU_BYTES, STATUSES, transfer_syntaxes,
};
use lightbox::adapters::dicom::TRANSFER_SYNTAXES;
use lightbox::adapters::dicom::derived::class_of;
use lightbox::adapters::listener::{
    CIPHER_SUITES, IMPLEMENTATION_CLASS_UID, STORAGE_CLASSES, STORAGE_COMMITMENT, Status, VERIFICATION,
};
use lightbox::config::Limits;
use lightbox::domain::What;
use lightbox::record::QueueState;

fn statement() -> String {
    let limits = Limits::default();
    let mut text = String::from(
        "# DICOM conformance statement\n\n\
         Made from the tables that the program uses by `tests/conformance.rs`; do not edit.\n\n\
         `lightbox listen` and `lightbox run` are one application entity. It accepts associations; it asks for one to report\n\
         on storage commitment to a peer whose address is configured (`report_to`), and to send reports and captures of\n\
         readings to the archive that is configured (`[pacs]`), also by `lightbox journal send`.\n\n\
         ## Services\n\n\
         | SOP class | UID | role |\n|---|---|---|\n",
    );
    for class in [&VERIFICATION].into_iter().chain(&STORAGE_CLASSES).chain([&STORAGE_COMMITMENT]) {
        writeln!(text, "| {} | {} | SCP |", class.name, class.uid).expect("written to memory");
    }
    for what in What::ALL {
        let name = match what {
            What::Report => "Comprehensive SR Storage",
            What::Capture => "Secondary Capture Image Storage",
        };
        writeln!(text, "| {name} | {} | SCU |", class_of(what)).expect("written to memory");
    }
    text += "\nEverything else is refused in negotiation. Storage is level 2 (full): every attribute is kept as it came, and\n\
             nothing is coerced. An object is answered \"success\" when its file and its place in the queue are flushed to\n\
             the disk. The same object again is answered \"success\" and kept once; an object of a known SOP Instance UID with\n\
             other content is kept beside the first and marked.\n\n\
             The report on a storage commitment follows on the association of the request, at once. A peer that leaves before\n\
             it took the report, or refuses it there, is called where it has a `report_to`, with SCP role selection, until it\n\
             takes it; the request survives power cuts. A peer without has to ask again. Objects that are not here fail with\n\
             0112, those of another SOP class with 0119. Where the configuration has `delete_read`, objects that were read are\n\
             deleted when space is short, also committed ones.\n\n\
             ## Transfer syntaxes\n\n\
             For storage, the first of these that the peer proposes in a presentation context:\n\n\
             | transfer syntax | UID | lossless |\n|---|---|---|\n";
    for syntax in &TRANSFER_SYNTAXES {
        writeln!(text, "| {} | {} | {} |", syntax.name, syntax.uid, if syntax.lossless { "yes" } else { "no" })
            .expect("written to memory");
    }
    write!(
        text,
        "\nFor {} and {} the first two.\n\n## Statuses\n\n| status | when |\n|---|---|\n",
        VERIFICATION.name, STORAGE_COMMITMENT.name
    )
    .expect("written to memory");
    for status in Status::ALL {
        writeln!(text, "| {:04X} | {} |", status.code(), status.meaning()).expect("written to memory");
    }
    write!(
        text,
        "\nWhat is refused is named in the Error Comment (0000,0902).\n\n{}\
         ## Associations\n\n\
         | | default |\n|---|---|\n\
         | calling and called AE titles | compared with the configuration; others are rejected (1/3, 1/7) |\n\
         | addresses | compared with the configuration; others are hung up on |\n\
         | associations at the same time | {}; more are rejected as transient (3/2) |\n\
         | largest PDU received | {} bytes |\n\
         | object | at most {} MB |\n\
         | association | at most {} MB |\n\
         | for the request to arrive (ARTIM) | {} s |\n\
         | between messages | {} s |\n\
         | between the PDUs of a message | {} s |\n\
         | for one object to arrive | {} s |\n\
         | until a report is tried again, doubled each time | {} s |\n\
         | implementation class UID | {IMPLEMENTATION_CLASS_UID} |\n\
         | asynchronous operations, extended negotiation, role selection, user identity | not supported, ignored |\n\n\
         Character sets are kept as they came.\n\n\
         ## Security\n\n\
         AE titles and addresses are compared with the configuration, see above. With `[listener.tls]` every association,\n\
         also one for a report that this device asks for, goes through TLS as the Non-Downgrading BCP 195 TLS Secure\n\
         Transport Connection Profile has it (PS3.15): versions 1.3 and 1.2, nothing older. Peers have to show a certificate\n\
         that was signed under the configured CA and is valid at the time of the device's clock; that of a peer which is\n\
         called has to name its address. Certificates are looked at anew for every association: sessions are not resumed.\n\
         There are no revocation lists. The handshake has to be done within the time for the association request. With\n\
         `[pacs.tls]` all this holds for the archive, too, whose certificate has to be for its address or name.\n\n\
         Cipher suites, those that are preferred first:\n\n{}",
        sending(),
        limits.associations,
        limits.pdu_bytes,
        limits.object_bytes / 1_000_000,
        limits.association_bytes / 1_000_000,
        limits.association_timeout.as_secs(),
        limits.idle_timeout.as_secs(),
        limits.network_timeout.as_secs(),
        limits.object_timeout.as_secs(),
        limits.report_retry.as_secs(),
        CIPHER_SUITES.map(|suite| format!("- {suite}\n")).concat(),
    )
    .expect("written to memory");
    text
}

/// What is sent to an archive, and what its answers lead to.
fn sending() -> String {
    let mut text = String::from(
        "## Sending to an archive\n\n\
         An object is queued in the transaction that writes its reading down, and leaves the queue once the archive has\n\
         answered and that is written down, too: it is sent at least once, under the same SOP Instance UID each time. It\n\
         joins the film's study. Reports refer to the film (Current Requested Procedure Evidence Sequence, IMAGE) and are\n\
         never verified; captures are 8-bit RGB, uncompressed, 800 × 480, Conversion Type WSD. A capture is the verdict's screen in\n\
         the site's language (`site.language`), where the film is still at hand with the map that was shown on it; its header is in\n\
         English.\n\n\
         For each SOP class one presentation context is proposed, with ",
    );
    let syntaxes: Vec<&str> = transfer_syntaxes().iter().map(|syntax| syntax.name).collect();
    write!(
        text,
        "{}.\nWhat the archive says it does not support counts as refused for good. One association is open at a time.\n\n| status | means | the object |\n|---|---|---|\n",
        syntaxes.join(" and ")
    )
    .expect("written to memory");
    for (statuses, state, meaning) in &STATUSES {
        let (first, last) = (statuses.start(), statuses.end());
        let range = if first == last { format!("{first:04X}") } else { format!("{first:04X} to {last:04X}") };
        let then = match state {
            QueueState::Sent => "is done",
            QueueState::Waits => "is tried again",
            QueueState::Failed => "is refused for good, and kept with the status",
        };
        writeln!(text, "| {range} | {meaning} | {then} |").expect("written to memory");
    }
    write!(
        text,
        "| others | | is tried again |\n\n\
         After what did not succeed the archive is called again after `retry_s` (30 s), then after twice as long each time,\n\
         {} s at most, each a quarter more or less by chance.\n\n\
         | waiting for | at most |\n|---|---|\n\
         | a connection | {} s |\n| TLS, and then the association | {} s |\n| the answer to an object | {} s |\n\
         | a PDU that has begun | {} s |\n| largest PDU received | {PDU_BYTES} bytes |\n\n",
        LONGEST_PAUSE.as_secs(),
        CONNECT.as_secs(),
        ASSOCIATION.as_secs(),
        ANSWER.as_secs(),
        NETWORK.as_secs(),
    )
    .expect("written to memory");
    text
}

#[test]
fn the_conformance_statement_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    if std::env::var_os("LIGHTBOX_BLESS").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, statement()).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == statement(), "docs/conformance.md is not current: write it anew with LIGHTBOX_BLESS=1");
}

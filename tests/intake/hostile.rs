//! Peers that break off, dawdle, flood or talk nonsense: the listener stays as it was.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use dicom_ul::pdu::{AssociationRQ, PDataValueType, Pdu, PresentationContextProposed, UserVariableItem, write_pdu};

use crate::listening::{Listening, Place, data_set_of};
use crate::sender::{CR, EXPLICIT, Sender, assert_serves, command, data_set, pdv, store_request};

fn bytes(pdu: &Pdu) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu).expect("written to memory");
    bytes
}

fn request() -> Vec<u8> {
    bytes(&Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "XRAY1".to_owned(),
        called_ae_title: "LIGHTBOX".to_owned(),
        application_context_name: "1.2.840.10008.3.1.1.1".to_owned(),
        presentation_contexts: vec![PresentationContextProposed {
            id: 1,
            abstract_syntax: CR.to_owned(),
            transfer_syntaxes: vec![EXPLICIT.to_owned()],
        }],
        user_variables: vec![UserVariableItem::MaxLength(16_384)],
    }))
}

/// Sends all at once and gives what came back until the end of the stream.
fn exchange(address: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("a connection");
    // The listener may have hung up before all was sent.
    let _ = stream.write_all(sent);
    let _ = stream.shutdown(Shutdown::Write);
    let mut back = Vec::new();
    let _ = stream.read_to_end(&mut back);
    back
}

#[test]
fn an_association_cut_at_any_byte_keeps_all_or_nothing() {
    let place = Place::new("");
    let listening = place.start();
    let data = data_set("1.2.3", 64);
    let (first, second) = data.split_at(50);
    let before = [
        request(),
        bytes(&pdv(1, PDataValueType::Command, &store_request(CR, "1.2.3"), true)),
        bytes(&pdv(1, PDataValueType::Data, first, false)),
        bytes(&pdv(1, PDataValueType::Data, second, true)),
    ]
    .concat();
    let whole = [before.clone(), bytes(&Pdu::ReleaseRQ)].concat();
    assert!(whole.len() > 400);
    for cut in 0..before.len() {
        exchange(listening.address, &whole[..cut]);
        assert_eq!(place.unread().len(), 0, "cut at byte {cut}");
    }
    for cut in before.len()..=whole.len() {
        exchange(listening.address, &whole[..cut]);
    }
    listening.wait_until_idle();
    assert_eq!((place.unread().len(), place.incoming().len()), (1, 0));
    assert_eq!(data_set_of(&place.unread()[0]), data);
    assert_serves(listening.address);
}

#[test]
fn every_single_byte_of_an_association_may_be_wrong() {
    let place = Place::new("[limits]\nnetwork_timeout_s = 2\nidle_timeout_s = 2\nassociation_timeout_s = 2\n");
    let listening = place.start();
    let whole = [
        request(),
        bytes(&pdv(1, PDataValueType::Command, &store_request(CR, "1.2.3"), true)),
        bytes(&pdv(1, PDataValueType::Data, &data_set("1.2.3", 64), true)),
        bytes(&Pdu::ReleaseRQ),
    ]
    .concat();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= if at % 2 == 0 { 0xff } else { 0x01 };
        exchange(listening.address, &changed);
    }
    listening.wait_until_idle();
    assert_eq!(place.incoming().len(), 0);
    assert!(!listening.log().contains("fault of this program"), "{}", listening.log());
    assert_serves(listening.address);
}

#[test]
fn what_breaks_the_protocol_is_aborted_and_said() {
    let place = Place::new("[limits]\nassociation_mb = 1\n");
    let listening = place.start();
    let abort = |sent: &[u8], told: &str| {
        let back = exchange(listening.address, sent);
        assert_eq!(back[back.len() - 10], 7, "an A-ABORT comes last, for {told}");
        listening.wait_for(told);
    };
    abort(b"GET / HTTP/1.1\r\n\r\n", "a PDU of type 47, which is not due here");
    let back = exchange(listening.address, b"\x16\x03\x01\x02\0\x01\0");
    assert!(back.is_empty(), "a peer with TLS can read no A-ABORT: {back:?}");
    listening.wait_for("it speaks TLS, which is not configured (listener.tls)");
    abort(&bytes(&Pdu::ReleaseRQ), "a PDU of type 05, which is not due here");
    abort(b"\x01\0\xff\xff\xff\xff", "a PDU of 4294967295 bytes, at most 262144 are taken");
    let with = |pdu: &[u8]| [&request(), pdu].concat();
    abort(&with(&request()), "a PDU of type 01, which is not due here");
    abort(&with(b"\x04\0\0\x02\0\x01"), "a PDU of 131073 bytes, at most 131072 are taken");
    abort(&with(&bytes(&pdv(1, PDataValueType::Data, &[0; 8], true))), "a data set without a command");
    let store = store_request(CR, "1.2.3");
    abort(
        &with(&bytes(&pdv(3, PDataValueType::Command, &store, true))),
        "a message in a presentation context that was not accepted",
    );
    abort(
        &with(&bytes(&pdv(1, PDataValueType::Command, &store, true)).repeat(2)),
        "a data set that is interrupted by something else",
    );
    abort(&with(&bytes(&pdv(1, PDataValueType::Command, &[0; 20_000], true))), "a command of more than 16 KiB");
    abort(
        &with(&bytes(&pdv(1, PDataValueType::Command, &store[..store.len() - 1], true))),
        "the command ends inside element 1000 of group 0000",
    );
    let answer = command(&[(0x0100, &[1, 0x80]), (0x0110, &[1, 0]), (0x0800, &[1, 1])]);
    abort(&with(&bytes(&pdv(1, PDataValueType::Command, &answer, true))), "a response to nothing that was asked");
    let endless: Vec<u8> = bytes(&pdv(1, PDataValueType::Data, &[0; 100_000], false)).repeat(11);
    abort(
        &with(&[bytes(&pdv(1, PDataValueType::Command, &store, true)), endless].concat()),
        "more than 1000000 bytes in one association (limits.association_mb)",
    );
    assert_eq!((place.unread().len(), place.incoming().len()), (0, 0));
    assert_serves(listening.address);
}

#[test]
fn peers_that_dawdle_keep_nobody_out_and_are_cut_off() {
    let place = Place::new("[limits]\nassociation_timeout_s = 5\nnetwork_timeout_s = 1\nidle_timeout_s = 2\n");
    let listening = place.start();
    // More than there are places, each of them within its request.
    let slow: Vec<TcpStream> = (0..60)
        .map(|number| {
            let mut stream = TcpStream::connect(listening.address).unwrap();
            stream.write_all(&request()[..number + 1]).unwrap();
            stream
        })
        .collect();
    let mut sender = Sender::connect(listening.address).unwrap();
    assert_eq!(sender.store("1.2.3", 100_000).unwrap(), 0);
    sender.release();
    listening.wait_for("has sent no complete association request gives way");
    // Within an object, and between messages.
    let mut within = Sender::connect(listening.address).unwrap();
    within.send_command(CR, &store_request(CR, "1.2.4")).unwrap();
    within.send_data(&[0; 100], false).unwrap();
    let _idle = Sender::connect(listening.address).unwrap();
    listening.wait_until_idle();
    assert_eq!((place.unread().len(), place.incoming().len()), (1, 0));
    assert_serves(listening.address);
    drop((slow, within));
}

fn footprint(listening: &Listening) -> (usize, u64) {
    listening.wait_until_idle();
    (listening.open_files(), listening.memory_kb("VmRSS"))
}

/// `LIGHTBOX_FLOOD=100000 cargo test --release --test intake flood` breaks off more of them than there is time for always.
#[test]
fn a_flood_of_aborted_associations_leaves_no_trace() {
    let count = std::env::var("LIGHTBOX_FLOOD").map_or(3000, |text| text.parse().expect("a number"));
    let place = Place::new("");
    let listening = place.start();
    let beginnings = [
        Vec::new(),
        request(),
        [request(), bytes(&pdv(1, PDataValueType::Command, &store_request(CR, "1.2.3"), true))].concat(),
        [
            request(),
            bytes(&pdv(1, PDataValueType::Command, &store_request(CR, "1.2.3"), true)),
            bytes(&pdv(1, PDataValueType::Data, &data_set("1.2.3", 64)[..80], false)),
        ]
        .concat(),
    ];
    let flood = |count: usize| {
        for number in 0..count {
            let mut stream = TcpStream::connect(listening.address).unwrap();
            stream.write_all(&beginnings[number % beginnings.len()]).unwrap();
            if number % 3 == 0 {
                let _ = stream.write_all(b"\x07\0\0\0\0\x04\0\0\0\0");
            }
        }
    };
    // The allocator keeps what the most threads at one time have used.
    flood(300.max(count / 10));
    let (files, memory) = footprint(&listening);
    flood(count);
    let (files_after, memory_after) = footprint(&listening);
    assert_eq!(files_after, files);
    assert!(memory_after < memory + 4096, "{memory} kB before, {memory_after} kB after");
    assert_eq!((place.unread().len(), place.incoming().len()), (0, 0));
    assert_serves(listening.address);
}

#[test]
fn a_large_object_takes_no_more_memory_than_a_small_one() {
    let place = Place::new("");
    let listening = place.start();
    let mut sender = Sender::connect(listening.address).unwrap();
    assert_eq!(sender.store("1.2.3", 100_000).unwrap(), 0);
    let before = listening.memory_kb("VmHWM");
    assert_eq!(sender.store("1.2.4", 100_000_000).unwrap(), 0);
    let after = listening.memory_kb("VmHWM");
    sender.release();
    assert!(after < before + 4096, "{before} kB before, {after} kB after");
    assert_eq!(data_set_of(&place.unread()[1]).len(), data_set("1.2.4", 0).len() + 100_000_000);
}

#[test]
fn a_connection_that_says_nothing_is_cut_off() {
    let place = Place::new("[limits]\nassociation_timeout_s = 1\n");
    let listening = place.start();
    let mut stream = TcpStream::connect(listening.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert_eq!(back[..1], [7], "an A-ABORT");
    listening.wait_for("no association: nothing came for too long");
}

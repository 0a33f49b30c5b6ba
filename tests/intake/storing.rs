//! What is kept, what is answered, and who is refused.

use std::fs;
use std::io::Read;
use std::net::TcpStream;

use dicom_ul::pdu::PDataValueType;

use crate::listening::{Place, config, data_set_of, program};
use crate::sender::{CR, EXPLICIT, Failure, Sender, assert_serves, command, data_set, options, pdv, store_request};

#[test]
fn an_image_is_kept_byte_by_byte_under_a_name_of_our_own() {
    let place = Place::new("");
    let mut listening = place.start();
    let mut sender = Sender::connect(listening.address).unwrap();
    assert_eq!(sender.echo().unwrap(), 0);
    for (uid, bytes) in [("1.2.3", 10), ("1.2.4", 1_000_000), ("1.2.5", 0)] {
        assert_eq!(sender.store(uid, bytes).unwrap(), 0);
    }
    sender.release();
    let kept = place.unread();
    assert_eq!(kept.len(), 3);
    for (path, (uid, bytes)) in kept.iter().zip([("1.2.3", 10), ("1.2.4", 1_000_000), ("1.2.5", 0)]) {
        assert_eq!(data_set_of(path), data_set(uid, bytes));
        assert!(!path.display().to_string().contains(uid));
    }
    assert_eq!(place.incoming().len(), 0);
    listening.wait_for("XRAY1 at 127.0.0.1: stored 1.2.4 (Computed Radiography Image Storage, Explicit VR");
    assert!(listening.stop().success());
}

#[test]
fn the_same_image_is_kept_once_and_another_of_the_same_name_beside_it() {
    let place = Place::new("");
    let listening = place.start();
    let mut sender = Sender::connect(listening.address).unwrap();
    assert_eq!(sender.store("1.2.3", 1000).unwrap(), 0);
    assert_eq!(sender.store("1.2.3", 1000).unwrap(), 0);
    assert_eq!(place.unread().len(), 1);
    let mut other = data_set("1.2.3", 1000);
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(sender.store_as(CR, "1.2.3", &other).unwrap(), 0);
    assert_eq!(sender.store_as(CR, "1.2.3", &other).unwrap(), 0);
    sender.release();
    let kept = place.unread();
    assert_eq!(kept.len(), 2);
    assert_eq!(data_set_of(&kept[1]), other);
    assert!(kept[1].display().to_string().ends_with("-differs.dcm"));
    listening.wait_for("stored beside a DIFFERING object of the same UID 1.2.3");
}

#[test]
fn what_does_not_match_or_cannot_be_understood_gets_its_status_and_is_not_kept() {
    let place = Place::new("[limits]\nobject_mb = 1\n");
    let listening = place.start();
    let mut sender = Sender::connect(listening.address).unwrap();
    let good = data_set("1.2.3", 100);
    let mut check = |class: &str, uid: &str, data: &[u8], status: u16| {
        assert_eq!(sender.store_as(class, uid, data).unwrap(), status, "{class} {uid}");
    };
    check(CR, "1.2.4", &good, 0xa900);
    check(CR, "1.2.3", &good[..good.len() - 1], 0xc000);
    check(CR, "1.2.3", &good[26..], 0xc000);
    check(CR, "1.2.3", b"Dear colleague", 0xc000);
    check("1.2.840.10008.5.1.4.1.1.2", "1.2.3", &good, 0x0122);
    for uid in ["../../etc", "/etc/passwd", "", "1..2", &"1".repeat(65), "1.2.3\\1.2.4"] {
        check(CR, uid, &good, 0x0117);
    }
    check(CR, "1.2.3", &data_set("1.2.3", 1_000_000), 0xa700);
    assert_eq!((place.unread().len(), place.incoming().len()), (0, 0));
    // The association goes on after all of them.
    check(CR, "1.2.3", &good, 0);
    let find = command(&[(0x0002, CR.as_bytes()), (0x0100, &[0x20, 0]), (0x0110, &[9, 0]), (0x0800, &[1, 0])]);
    sender.send_command(CR, &find).unwrap();
    sender.send_data(&[0; 20], true).unwrap();
    assert_eq!(sender.answer().unwrap(), 0x0211);
    let empty = command(&[(0x0002, CR.as_bytes()), (0x0100, &[1, 0]), (0x0110, &[9, 0]), (0x0800, &[1, 1])]);
    sender.send_command(CR, &empty).unwrap();
    assert_eq!(sender.answer().unwrap(), 0xc000);
    assert_eq!(sender.echo().unwrap(), 0);
    sender.release();
    assert_eq!(place.unread().len(), 1);
    listening.wait_for("refused \"../../etc\" with status 0117: '/' at byte 2 of a unique identifier");
}

#[test]
fn a_commitment_request_that_is_not_one_gets_its_status() {
    const COMMITMENT: &str = "1.2.840.10008.1.20.1";
    let place = Place::new("");
    let listening = place.start();
    let options = options().with_presentation_context(COMMITMENT, vec![EXPLICIT]);
    let mut sender = Sender(options.establish(listening.address).unwrap());
    let request = b"\x08\0\x95\x11UI\x04\x001.2\0";
    let mut check = |instance: &str, action: u8, data: &[u8], status: u16| {
        let action = command(&[
            (0x0003, COMMITMENT.as_bytes()),
            (0x0100, &[0x30, 1]),
            (0x0110, &[5, 0]),
            (0x0800, &[1, 0]),
            (0x1001, instance.as_bytes()),
            (0x1008, &[action, 0]),
        ]);
        sender.send_command(COMMITMENT, &action).unwrap();
        let context = sender.context(COMMITMENT);
        for (index, part) in data.chunks(100_000).enumerate() {
            let last = (index + 1) * 100_000 >= data.len();
            sender.0.send(&pdv(context, PDataValueType::Data, part, last)).unwrap();
        }
        assert_eq!(sender.answer().unwrap(), status);
    };
    check("1.2.840.10008.1.20.1.2", 1, request, 0x0112);
    check("1.2.840.10008.1.20.1.1", 2, request, 0x0123);
    check("1.2.840.10008.1.20.1.1", 1, request, 0x0115);
    check("1.2.840.10008.1.20.1.1", 1, &vec![0; 1_200_000], 0x0115);
    listening.wait_for("refused a storage commitment request, status 0115: it has no items in (0008,1199)");
}

#[test]
fn nothing_is_taken_when_the_reserve_is_reached() {
    let place = Place::new("");
    let text = config(&place.spool, "").replace("keep_free_mb = 0", "keep_free_mb = 1000000000");
    fs::write(&place.config, text).unwrap();
    let listening = place.start();
    let mut sender = Sender::connect(listening.address).unwrap();
    assert_eq!(sender.echo().unwrap(), 0);
    assert_eq!(sender.store("1.2.3", 100).unwrap(), 0xa700);
    sender.release();
    assert_eq!((place.unread().len(), place.incoming().len()), (0, 0));
    listening.wait_for("make room on the disk");
}

#[test]
fn whoever_is_not_in_the_configuration_is_refused() {
    let place = Place::new("");
    let listening = place.start();
    let refused = |options: dicom_ul::ClientAssociationOptions<'static>| match options
        .with_presentation_context(CR, vec![EXPLICIT])
        .establish(listening.address)
    {
        Err(Failure::Rejected { association_rj, .. }) => format!("{}", association_rj.source),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was accepted"),
    };
    assert_eq!(refused(options().calling_ae_title("XRAY2")), "calling AE title not recognized");
    assert_eq!(refused(options().called_ae_title("lightbox")), "called AE title not recognized");
    listening.wait_for("association refused: it calls itself AE title \"XRAY2\", which is none of listener.peers");

    let place = Place::new("");
    fs::write(&place.config, config(&place.spool, "").replace("[\"127.0.0.1\"]", "[\"10.0.0.0/8\"]")).unwrap();
    let listening = place.start();
    let mut stream = TcpStream::connect(listening.address).unwrap();
    // No byte is exchanged.
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    listening.wait_for("127.0.0.1: connection refused, nobody in listener.peers calls from there");
}

#[test]
fn a_sender_that_is_cut_off_in_mid_object_leaves_nothing() {
    let place = Place::new("");
    let listening = place.start();
    for reset in [false, true] {
        let mut sender = Sender::connect(listening.address).unwrap();
        sender.send_command(CR, &store_request(CR, "1.2.3")).unwrap();
        sender.send_data(&data_set("1.2.3", 1_000_000)[..700_000], false).unwrap();
        if reset {
            sender.0.abort().unwrap();
        } else {
            drop(sender);
        }
        listening.wait_until_idle();
        assert_eq!((place.unread().len(), place.incoming().len()), (0, 0));
    }
    listening.wait_for("an object was cut off after 700000 bytes and dropped");
    assert_serves(listening.address);
}

#[test]
fn twenty_five_senders_at_once_are_served_and_one_more_is_told_to_come_back() {
    let place = Place::new("");
    let listening = place.start();
    let address = listening.address;
    let senders: Vec<_> = (0..25)
        .map(|number| {
            std::thread::spawn(move || {
                let mut sender = Sender::connect(address).unwrap();
                for image in 0..4 {
                    assert_eq!(sender.store(&format!("1.2.{number}.{image}"), 200_000).unwrap(), 0);
                }
                sender
            })
        })
        .collect();
    let mut senders: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
    assert_eq!(place.unread().len(), 100);
    match Sender::connect(address) {
        Err(Failure::Rejected { association_rj, .. }) => {
            assert_eq!(association_rj.result, dicom_ul::pdu::AssociationRJResult::Transient);
            assert_eq!(association_rj.source.to_string(), "local limit exceeded");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was accepted"),
    }
    senders.remove(7).release();
    while listening.threads() > 25 {
        std::thread::yield_now();
    }
    assert_serves(address);
}

#[test]
fn a_request_to_end_lets_the_running_transfer_finish() {
    let place = Place::new("");
    let mut listening = place.start();
    let idle = Sender::connect(listening.address).unwrap();
    let mut busy = Sender::connect(listening.address).unwrap();
    let data = data_set("1.2.3", 600_000);
    busy.send_command(CR, &store_request(CR, "1.2.3")).unwrap();
    busy.send_data(&data[..300_000], false).unwrap();
    while place.incoming().is_empty() {
        std::thread::yield_now();
    }
    let finishing = std::thread::spawn(move || {
        // The idle one is cut off first.
        let mut idle = idle;
        assert!(idle.0.receive().is_err());
        busy.send_data(&data[300_000..], true).unwrap();
        busy.answer().unwrap()
    });
    assert!(listening.stop().success());
    assert_eq!(finishing.join().unwrap(), 0);
    assert_eq!(place.unread().len(), 1);
}

#[test]
fn a_configuration_is_checked_before_anything_is_opened() {
    let place = Place::new("");
    let run = |arguments: &[&str]| {
        let output = program().args(["listen", "--config"]).arg(&place.config).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["--check"]), (Some(0), String::new()));
    assert!(!place.spool.exists());
    fs::write(&place.config, config(&place.spool, "[limits]\nassociations = 99\n")).unwrap();
    let (code, told) = run(&[]);
    assert_eq!(code, Some(1));
    assert!(told.contains("limits.associations is 99, expected 1 to 25"), "{told}");
    let help = program().args(["listen", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("[[listener.peers]]") && help.contains("# network_timeout_s = 30"), "{help}");
}

#[test]
fn a_spool_or_port_that_is_in_use_is_named() {
    let place = Place::new("");
    let listening = place.start();
    let output = program().args(["listen", "--config"]).arg(&place.config).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("is in use by another program"), "{told}");
    let other = Place::new("");
    let text = config(&other.spool, "").replace("127.0.0.1:0", &listening.address.to_string());
    fs::write(&other.config, text).unwrap();
    let output = program().args(["listen", "--config"]).arg(&other.config).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(&format!("cannot listen on {}", listening.address)), "{told}");
}

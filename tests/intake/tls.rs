//! TLS: who is let in, who is not and why, and that nobody who dawdles over it keeps others out.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

use crate::listening::{Listening, Place, program};
use crate::peers::{dcmtk, fixture, python, told};
use crate::sender::assert_serves;

/// Somebody who signs certificates.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new() -> Self {
        Self::named("an authority")
    }

    fn named(name: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("written");
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Signs a certificate for this machine, valid until the year `until`.
    fn sign(&self, name: &str, until: i32) -> Pair {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(until, 1, 1));
        let pair_key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&pair_key, &self.issuer).expect("a certificate");
        let [certificate, key] = ["crt", "key"].map(|ending| self.folder.path().join(format!("{name}.{ending}")));
        fs::write(&certificate, signed.pem()).expect("written");
        fs::write(&key, pair_key.serialize_pem()).expect("written");
        Pair { certificate, key }
    }
}

/// A place whose listener takes peers that `authority` vouches for.
fn secured(authority: &Authority, more: &str) -> Place {
    let device = authority.sign("device", 2090);
    Place::new(&format!(
        "{more}[listener.tls]\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\n",
        device.certificate,
        device.key,
        authority.certificate()
    ))
}

/// storescu of dcmtk with an image, through TLS; `pair` is what it shows of itself.
fn store(listening: &Listening, authority: &Authority, pair: Option<&Pair>) -> Option<Output> {
    let ca = authority.certificate().display().to_string();
    let shown = pair.map(|pair| [pair.key.display().to_string(), pair.certificate.display().to_string()]);
    let arguments: Vec<&str> = match &shown {
        Some([key, certificate]) => vec!["+tls", key, certificate, "+cf", &ca, "-xw"],
        None => vec!["+tla", "-ic", "-xw"],
    };
    Some(dcmtk("storescu", listening, &arguments)?.arg(fixture("chest-pa.dcm")).output().expect("it runs"))
}

#[test]
fn dcmtk_stores_through_tls_with_a_certificate_and_not_without_a_good_one() {
    let (authority, stranger) = (Authority::new(), Authority::named("a stranger"));
    let place = secured(&authority, "");
    let listening = place.start();
    let (good, expired) = (authority.sign("modality", 2090), authority.sign("old", 2020));
    let wrong = stranger.sign("stranger", 2090);
    for (pair, reason) in [
        (Some(&wrong), "TLS: nobody in client_ca or ca vouches for the peer"),
        (None, "TLS: the peer shows no certificate"),
        (Some(&expired), "TLS: the peer's certificate has expired, or this device's clock is wrong"),
    ] {
        let Some(refused) = store(&listening, &authority, pair) else { return };
        assert!(!refused.status.success(), "{reason}: {}", told(&refused));
        listening.wait_for(reason);
    }
    // The listener shows a certificate that this peer does not trust.
    let distrusts = store(&listening, &stranger, Some(&good)).unwrap();
    assert!(!distrusts.status.success(), "{}", told(&distrusts));
    listening.wait_for("TLS: the peer does not trust this device's certificate");
    let plain = dcmtk("echoscu", &listening, &[]).unwrap().output().unwrap();
    assert!(!plain.status.success(), "{}", told(&plain));
    listening.wait_for("TLS: the peer does not speak TLS");
    assert!(place.unread().is_empty());
    for profile in ["+py", "+px"] {
        let ca = authority.certificate().display().to_string();
        let (key, certificate) = (good.key.display().to_string(), good.certificate.display().to_string());
        let arguments = ["+tls", &key, &certificate, "+cf", &ca, profile];
        let echo = dcmtk("echoscu", &listening, &arguments).unwrap().output().unwrap();
        assert!(echo.status.success(), "{profile}: {}", told(&echo));
    }
    let stored = store(&listening, &authority, Some(&good)).unwrap();
    assert!(stored.status.success(), "{}", told(&stored));
    assert_eq!(place.unread().len(), 1);
}

#[test]
fn pynetdicom_stores_through_tls() {
    let Some(mut python) = python() else { return };
    let authority = Authority::new();
    let place = secured(&authority, "");
    let listening = place.start();
    let pair = authority.sign("modality", 2090);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/intake/store.py");
    let images = tempfile::tempdir().unwrap();
    fs::copy(fixture("chest-pa.dcm"), images.path().join("chest-pa.dcm")).unwrap();
    python.arg(script).arg(listening.address.port().to_string()).arg(images.path());
    let sent = python.args([&pair.certificate, &pair.key, &authority.certificate()]).output().unwrap();
    assert!(sent.status.success() && told(&sent).contains("chest-pa.dcm 0000"), "{}", told(&sent));
    assert_eq!(place.unread().len(), 1);
}

#[test]
fn a_report_on_storage_commitment_reaches_a_peer_through_tls() {
    let Some(_) = python() else { return };
    let authority = Authority::new();
    let place = secured(&authority, "[limits]\nreport_retry_s = 1\n");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = fs::read_to_string(&place.config).unwrap();
    let with_address = format!("[[listener.peers]]\nreport_to = \"127.0.0.1:{port}\"\n");
    fs::write(&place.config, text.replace("[[listener.peers]]\n", &with_address)).unwrap();
    let listening = place.start();
    let pair = authority.sign("modality", 2090);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/intake/commit_later.py");
    let files = [&pair.certificate, &pair.key, &authority.certificate()].map(|path| path.display().to_string());
    let run = |arguments: &[&str]| python().unwrap().arg(&script).args(arguments).args(&files).output().unwrap();
    let image = fixture("chest-pa.dcm").display().to_string();
    let asked = run(&["ask", &listening.address.port().to_string(), &image]);
    assert!(asked.status.success() && asked.stdout == b"0000\n", "{}", told(&asked));
    let taken = run(&["take", &port.to_string()]);
    assert!(taken.status.success(), "{}", told(&taken));
    listening.wait_for("took the report on storage commitment 1.2.3.77 on a new association: 1 committed, 0 not here");
}

#[test]
fn a_peer_that_speaks_tls_to_a_plain_listener_is_told_apart_in_the_log() {
    let authority = Authority::new();
    let place = Place::new("");
    let listening = place.start();
    let pair = authority.sign("modality", 2090);
    let Some(refused) = store(&listening, &authority, Some(&pair)) else { return };
    assert!(!refused.status.success(), "{}", told(&refused));
    listening.wait_for("no association: it speaks TLS, which is not configured (listener.tls)");
    assert_serves(listening.address);
}

#[test]
fn handshakes_that_get_stuck_keep_nobody_out_and_are_cut_off() {
    let authority = Authority::new();
    let place = secured(&authority, "[limits]\nassociation_timeout_s = 3\n");
    let listening = place.start();
    // More than there are places: nothing at all, or the beginning of a ClientHello.
    let stuck: Vec<TcpStream> = (0..60)
        .map(|number| {
            let mut stream = TcpStream::connect(listening.address).unwrap();
            stream.write_all(&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..number % 12]).unwrap();
            stream
        })
        .collect();
    let pair = authority.sign("modality", 2090);
    if let Some(stored) = store(&listening, &authority, Some(&pair)) {
        assert!(stored.status.success(), "{}", told(&stored));
        assert_eq!(place.unread().len(), 1);
    }
    listening.wait_for("has sent no complete association request gives way");
    listening.wait_until_idle();
    listening.wait_for("no association: nothing came for too long");
    for mut stream in stuck {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut back = Vec::new();
        // The end, or a reset.
        let _ = stream.read_to_end(&mut back);
        assert!(back.is_empty(), "no PDU is sent outside TLS: {back:?}");
    }
}

#[test]
fn files_for_tls_that_do_not_go_together_are_found_before_the_program_runs() {
    let authority = Authority::new();
    let place = secured(&authority, "");
    let check = |place: &Place| program().args(["listen", "--check", "--config"]).arg(&place.config).output().unwrap();
    let fine: Output = check(&place);
    assert!(fine.status.success(), "{}", told(&fine));
    // The key of another certificate.
    let other = authority.sign("other", 2090);
    fs::copy(other.key, authority.folder.path().join("device.key")).unwrap();
    let refused = check(&place);
    assert!(!refused.status.success());
    assert!(
        told(&refused).contains("listener.tls: the certificate and the key cannot be used: "),
        "{}",
        told(&refused)
    );
    assert!(
        !Command::new(env!("CARGO_BIN_EXE_lightbox"))
            .args(["listen", "--config"])
            .arg(&place.config)
            .output()
            .unwrap()
            .status
            .success()
    );
}

//! A sender of images that does as it is told, also what no sender should.

use dicom_ul::association::{ClientAssociation, ClientAssociationOptions};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};

pub(crate) const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(crate) const VERIFICATION: &str = "1.2.840.10008.1.1";

/// A radiograph of `pixel_bytes`, each different for each UID.
pub(crate) fn data_set(uid: &str, pixel_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pixel_bytes + 128);
    let mut text = |group: u16, element: u16, vr: &str, value: &str, padding: u8| {
        let mut value = value.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(padding);
        }
        bytes.extend(group.to_le_bytes());
        bytes.extend(element.to_le_bytes());
        bytes.extend(vr.as_bytes());
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend(value);
    };
    text(0x0008, 0x0016, "UI", CR, 0);
    text(0x0008, 0x0018, "UI", uid, 0);
    text(0x0008, 0x0060, "CS", "CR", b' ');
    bytes.extend(b"\xe0\x7f\x10\0OW\0\0");
    bytes.extend((pixel_bytes as u32).to_le_bytes());
    let mut state = uid.bytes().fold(0x9e37_79b9_u32, |state, byte| state.rotate_left(5) ^ u32::from(byte)) | 1;
    bytes.extend((0..pixel_bytes).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    bytes
}

/// Elements of group 0000 as bytes.
pub(crate) fn command(elements: &[(u16, &[u8])]) -> Vec<u8> {
    let elements: BTreeMap<u16, &[u8]> = elements.iter().copied().collect();
    let mut body = Vec::new();
    for (element, value) in elements {
        let padded = value.len().next_multiple_of(2);
        body.extend([0, 0]);
        body.extend(element.to_le_bytes());
        body.extend((padded as u32).to_le_bytes());
        body.extend(value);
        body.resize(body.len() + padded - value.len(), 0);
    }
    let mut bytes = b"\0\0\0\0\x04\0\0\0".to_vec();
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(body);
    bytes
}

pub(crate) fn store_request(class: &str, uid: &str) -> Vec<u8> {
    command(&[
        (0x0002, class.as_bytes()),
        (0x0100, &[1, 0]),
        (0x0110, &[7, 0]),
        (0x0700, &[0, 0]),
        (0x0800, &[1, 0]),
        (0x1000, uid.as_bytes()),
    ])
}

pub(crate) fn pdv(context: u8, value_type: PDataValueType, data: &[u8], is_last: bool) -> Pdu {
    let data = vec![PDataValue { presentation_context_id: context, value_type, is_last, data: data.to_vec() }];
    Pdu::PData { data }
}

pub(crate) fn options() -> ClientAssociationOptions<'static> {
    ClientAssociationOptions::new()
        .calling_ae_title("XRAY1")
        .called_ae_title("LIGHTBOX")
        .read_timeout(Duration::from_secs(60))
        .write_timeout(Duration::from_secs(60))
}

pub(crate) struct Sender(pub(crate) ClientAssociation<TcpStream>);

pub(crate) type Failure = dicom_ul::association::Error;

impl Sender {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let options = options()
            .with_presentation_context(CR, vec![EXPLICIT])
            .with_presentation_context(VERIFICATION, vec![EXPLICIT]);
        options.establish(address).map(Self)
    }

    pub(crate) fn context(&self, class: &str) -> u8 {
        let contexts = self.0.presentation_contexts();
        contexts.iter().find(|context| context.abstract_syntax == class).expect("it was accepted").id
    }

    /// The status of an answer.
    pub(crate) fn answer(&mut self) -> Result<u16, Failure> {
        match self.0.receive()? {
            Pdu::PData { data } => {
                let bytes = &data[0].data;
                let at = bytes.windows(8).position(|header| header == b"\0\0\0\x09\x02\0\0\0").expect("a status");
                Ok(u16::from_le_bytes([bytes[at + 8], bytes[at + 9]]))
            }
            other => panic!("{}", other.short_description()),
        }
    }

    pub(crate) fn send_data(&mut self, data: &[u8], last: bool) -> Result<(), Failure> {
        let context = self.context(CR);
        let most = self.0.acceptor_max_pdu_length() as usize - 6;
        let count = data.chunks(most).count();
        for (index, part) in data.chunks(most).enumerate() {
            self.0.send(&pdv(context, PDataValueType::Data, part, last && index + 1 == count))?;
        }
        Ok(())
    }

    pub(crate) fn send_command(&mut self, class: &str, command: &[u8]) -> Result<(), Failure> {
        let context = self.context(class);
        self.0.send(&pdv(context, PDataValueType::Command, command, true))
    }

    /// Stores `data` as what the command says; gives the status.
    pub(crate) fn store_as(&mut self, class: &str, uid: &str, data: &[u8]) -> Result<u16, Failure> {
        self.send_command(CR, &store_request(class, uid))?;
        self.send_data(data, true)?;
        self.answer()
    }

    pub(crate) fn store(&mut self, uid: &str, pixel_bytes: usize) -> Result<u16, Failure> {
        self.store_as(CR, uid, &data_set(uid, pixel_bytes))
    }

    pub(crate) fn echo(&mut self) -> Result<u16, Failure> {
        let request =
            command(&[(0x0002, VERIFICATION.as_bytes()), (0x0100, &[0x30, 0]), (0x0110, &[1, 0]), (0x0800, &[1, 1])]);
        self.send_command(VERIFICATION, &request)?;
        self.answer()
    }

    pub(crate) fn release(self) {
        self.0.release().expect("it can be released");
    }
}

/// Whether the listener still serves.
#[track_caller]
pub(crate) fn assert_serves(address: SocketAddr) {
    let mut sender = Sender::connect(address).expect("an association");
    assert_eq!(sender.echo().expect("an answer"), 0);
    sender.release();
}

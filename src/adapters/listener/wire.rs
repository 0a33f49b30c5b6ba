//! PDUs of the DICOM upper layer (PS3.8 9.3) on a socket, each with a deadline and a limit that is compared before
//! memory is taken.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use dicom_ul::pdu::{
    AbortRQServiceProviderReason, AbortRQSource, PDataValue, PDataValueType, Pdu, read_pdu, write_pdu,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::super::deadlined::Deadlined;
use super::command::{self, CommandError, CommandSet};
use super::tls::{self, Tls};

/// Of an A-ASSOCIATE-RQ: 128 presentation contexts with 64 transfer syntaxes each are larger than any peer's.
const MOST_ASSOCIATE_BYTES: u32 = 256 << 10;
/// Of A-RELEASE-RQ and A-ABORT, which have 4.
const MOST_CONTROL_BYTES: u32 = 64;
/// What is sent in one PDU at least, whatever the peer asks for.
const LEAST_PDU_BYTES: usize = 128;

/// Why no PDU came.
#[derive(Debug, thiserror::Error)]
pub(in crate::adapters) enum WireError {
    #[error("the connection was closed")]
    Closed,
    #[error("nothing came for too long")]
    TimedOut,
    #[error("a PDU of {found} bytes, at most {most} are taken")]
    TooLarge { found: u32, most: u32 },
    #[error("a PDU of type {0:02x}, which is not due here")]
    NotDue(u8),
    #[error("it speaks TLS, which is not configured (listener.tls)")]
    SpeaksTls,
    #[error("TLS: {0}")]
    Tls(String),
    #[error("a PDU that cannot be understood: {0}")]
    Malformed(#[from] dicom_ul::pdu::ReadError),
    #[error("a PDU cannot be written: {0}")]
    Unwritable(#[from] dicom_ul::pdu::WriteError),
    #[error("the connection failed: {0}")]
    Io(io::Error),
}

impl WireError {
    /// What the peer is told, where it is told anything (PS3.8 9.3.8).
    pub(in crate::adapters) fn abort_reason(&self) -> Option<AbortRQServiceProviderReason> {
        match self {
            Self::Closed | Self::Io(_) | Self::Unwritable(_) | Self::SpeaksTls | Self::Tls(_) => None,
            Self::TimedOut => Some(AbortRQServiceProviderReason::ReasonNotSpecified),
            Self::TooLarge { .. } | Self::Malformed(_) => Some(AbortRQServiceProviderReason::InvalidPduParameter),
            Self::NotDue(1..=7) => Some(AbortRQServiceProviderReason::UnexpectedPdu),
            Self::NotDue(_) => Some(AbortRQServiceProviderReason::UnrecognizedPdu),
        }
    }
}

/// Why a command of ours was not answered.
#[derive(Debug, thiserror::Error)]
pub(in crate::adapters) enum AnswerError {
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Command(#[from] CommandError),
    #[error("it gives up the association")]
    Aborted,
    #[error("it sends what is not due")]
    NotDue,
}

/// What carries the PDUs.
#[derive(Debug)]
enum Stream {
    Plain(Deadlined<TcpStream>),
    Accepted(Box<StreamOwned<ServerConnection, Deadlined<TcpStream>>>),
    Called(Box<StreamOwned<ClientConnection, Deadlined<TcpStream>>>),
}

impl Stream {
    fn socket(&mut self) -> &mut Deadlined<TcpStream> {
        match self {
            Self::Plain(socket) => socket,
            Self::Accepted(tls) => &mut tls.sock,
            Self::Called(tls) => &mut tls.sock,
        }
    }

    fn set_deadline(&mut self, deadline: Instant) {
        self.socket().deadline = deadline;
    }

    /// Agrees on keys and certificates, where there is TLS.
    fn handshake(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Accepted(tls) => tls.conn.complete_io(&mut tls.sock).map(|_| ()),
            Self::Called(tls) => tls.conn.complete_io(&mut tls.sock).map(|_| ()),
        }
    }

    /// Says that nothing more will be sent, where TLS has come so far that it can be said.
    fn close_notify(&mut self) {
        // Whether the peer hears it does not matter.
        let _ = match self {
            Self::Plain(_) => Ok(0),
            Self::Accepted(tls) if tls.conn.is_handshaking() => Ok(0),
            Self::Called(tls) if tls.conn.is_handshaking() => Ok(0),
            Self::Accepted(tls) => {
                tls.conn.send_close_notify();
                tls.conn.write_tls(&mut tls.sock)
            }
            Self::Called(tls) => {
                tls.conn.send_close_notify();
                tls.conn.write_tls(&mut tls.sock)
            }
        };
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(bytes),
            Self::Accepted(tls) => tls.read(bytes),
            Self::Called(tls) => tls.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Accepted(tls) => tls.write(bytes),
            Self::Called(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Accepted(tls) => tls.flush(),
            Self::Called(tls) => tls.flush(),
        }
    }
}

fn failed(error: io::Error) -> WireError {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return WireError::Tls(tls::words_for(error));
    }
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => WireError::TimedOut,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => WireError::Closed,
        _ => WireError::Io(error),
    }
}

/// PDUs to and from one peer.
#[derive(Debug)]
pub(in crate::adapters) struct Wire {
    stream: Stream,
    /// For one PDU, once it has begun.
    network_timeout: Duration,
    received: Vec<u8>,
    to_send: Vec<u8>,
}

impl Wire {
    /// To a peer that has called, through TLS where `tls` is given.
    pub(in crate::adapters) fn accepted(
        socket: TcpStream,
        network_timeout: Duration,
        tls: Option<&Tls>,
    ) -> io::Result<Self> {
        Self::new(socket, network_timeout, |socket| {
            Ok(match tls {
                None => Stream::Plain(socket),
                Some(tls) => {
                    let connection = ServerConnection::new(tls.server()).map_err(io::Error::other)?;
                    Stream::Accepted(Box::new(StreamOwned::new(connection, socket)))
                }
            })
        })
    }

    /// To a peer that was called, through TLS where `tls` is given; its certificate has to name its address.
    pub(in crate::adapters) fn called(
        socket: TcpStream,
        network_timeout: Duration,
        tls: Option<&Tls>,
    ) -> io::Result<Self> {
        let name = ServerName::from(socket.peer_addr()?.ip().to_canonical());
        Self::called_by_name(socket, network_timeout, tls, name)
    }

    /// As [`called`](Self::called), to a peer whose certificate has to have `name`.
    pub(in crate::adapters) fn called_by_name(
        socket: TcpStream,
        network_timeout: Duration,
        tls: Option<&Tls>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        Self::new(socket, network_timeout, |socket| {
            Ok(match tls {
                None => Stream::Plain(socket),
                Some(tls) => {
                    let connection = ClientConnection::new(tls.client(), name).map_err(io::Error::other)?;
                    Stream::Called(Box::new(StreamOwned::new(connection, socket)))
                }
            })
        })
    }

    fn new(
        socket: TcpStream,
        network_timeout: Duration,
        stream: impl FnOnce(Deadlined<TcpStream>) -> io::Result<Stream>,
    ) -> io::Result<Self> {
        // Answers are small and the peer waits for them.
        socket.set_nodelay(true)?;
        let stream = stream(Deadlined { socket, deadline: Instant::now() })?;
        Ok(Self { stream, network_timeout, received: Vec::new(), to_send: Vec::new() })
    }

    /// Agrees on keys and certificates by `deadline`, where there is TLS.
    pub(in crate::adapters) fn handshake(&mut self, deadline: Instant) -> Result<(), WireError> {
        self.stream.set_deadline(deadline);
        self.stream.handshake().map_err(failed)
    }

    /// Whether PDUs can be sent: TLS, where there is any, has been agreed on.
    pub(in crate::adapters) fn is_agreed(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => true,
            Stream::Accepted(tls) => !tls.conn.is_handshaking(),
            Stream::Called(tls) => !tls.conn.is_handshaking(),
        }
    }

    /// The association request, complete at `deadline`.
    pub(in crate::adapters) fn receive_request(&mut self, deadline: Instant) -> Result<Pdu, WireError> {
        self.stream.set_deadline(deadline);
        self.receive(|kind| (kind == 0x01).then_some(MOST_ASSOCIATE_BYTES), |deadline| deadline)
    }

    /// The answer to an association request of ours, complete at `deadline`.
    pub(in crate::adapters) fn receive_reply(&mut self, deadline: Instant) -> Result<Pdu, WireError> {
        self.stream.set_deadline(deadline);
        let limit = |kind| match kind {
            0x02 => Some(MOST_ASSOCIATE_BYTES),
            0x03 | 0x07 => Some(MOST_CONTROL_BYTES),
            _ => None,
        };
        self.receive(limit, |deadline| deadline)
    }

    /// A PDU of an association, of which the first byte has to come before `deadline`.
    pub(in crate::adapters) fn receive_pdu(&mut self, deadline: Instant, most: u32) -> Result<Pdu, WireError> {
        self.stream.set_deadline(deadline);
        let network_timeout = self.network_timeout;
        let limit = |kind| match kind {
            0x04 => Some(most),
            0x05..=0x07 => Some(MOST_CONTROL_BYTES),
            _ => None,
        };
        self.receive(limit, |_| Instant::now() + network_timeout)
    }

    /// The answer to a command of ours with that command field (PS3.7 E.1), complete at `deadline`, in PDUs of at most
    /// `most` bytes.
    pub(in crate::adapters) fn receive_answer(
        &mut self,
        field: u16,
        deadline: Instant,
        most: u32,
    ) -> Result<CommandSet, AnswerError> {
        let mut bytes = Vec::new();
        loop {
            let data = match self.receive_pdu(deadline, most)? {
                Pdu::PData { data } => data,
                Pdu::AbortRQ { .. } => return Err(AnswerError::Aborted),
                _ => return Err(AnswerError::NotDue),
            };
            for value in data {
                bytes.extend(value.data);
                if value.value_type != PDataValueType::Command || bytes.len() > command::MOST_BYTES {
                    return Err(AnswerError::NotDue);
                }
                if value.is_last {
                    let answer = CommandSet::parse(&bytes)?;
                    let due = answer.u16(command::COMMAND_FIELD)? == field | command::RESPONSE;
                    return if due { Ok(answer) } else { Err(AnswerError::NotDue) };
                }
            }
        }
    }

    fn receive(
        &mut self,
        limit: impl FnOnce(u8) -> Option<u32>,
        deadline_of_rest: impl FnOnce(Instant) -> Instant,
    ) -> Result<Pdu, WireError> {
        const HEADER: usize = 6;
        self.received.resize(HEADER, 0);
        self.stream.read_exact(&mut self.received[..1]).map_err(failed)?;
        let kind = self.received[0];
        // A TLS record of a handshake (RFC 8446 5.1) instead of a PDU.
        let not_due = if kind == 0x16 { WireError::SpeaksTls } else { WireError::NotDue(kind) };
        let most = limit(kind).ok_or(not_due)?;
        let rest = deadline_of_rest(self.stream.socket().deadline);
        self.stream.set_deadline(rest);
        self.stream.read_exact(&mut self.received[1..HEADER]).map_err(failed)?;
        let header = &self.received;
        let found = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
        if found > most {
            return Err(WireError::TooLarge { found, most });
        }
        self.received.resize(HEADER + found as usize, 0);
        self.stream.read_exact(&mut self.received[HEADER..]).map_err(failed)?;
        // `None` means that bytes are missing, and all that the header declares are there.
        read_pdu(&self.received[..], most.max(dicom_ul::pdu::MINIMUM_PDU_SIZE), true)?
            .ok_or(WireError::Io(io::ErrorKind::InvalidData.into()))
    }

    pub(in crate::adapters) fn send(&mut self, pdu: &Pdu) -> Result<(), WireError> {
        self.to_send.clear();
        write_pdu(&mut self.to_send, pdu)?;
        self.stream.set_deadline(Instant::now() + self.network_timeout);
        self.stream.write_all(&self.to_send).and_then(|()| self.stream.flush()).map_err(failed)
    }

    /// Sends a command set in PDUs of at most `most` bytes, 0 for any size (PS3.8 D.1).
    pub(in crate::adapters) fn send_command(
        &mut self,
        context: u8,
        command: &[u8],
        most: u32,
    ) -> Result<(), WireError> {
        self.send_parts(context, &PDataValueType::Command, command, most)
    }

    /// Sends a command set and its data set in PDUs of at most `most` bytes, 0 for any size.
    pub(in crate::adapters) fn send_message(
        &mut self,
        context: u8,
        command: &[u8],
        data: &[u8],
        most: u32,
    ) -> Result<(), WireError> {
        self.send_parts(context, &PDataValueType::Command, command, most)?;
        self.send_parts(context, &PDataValueType::Data, data, most)
    }

    fn send_parts(&mut self, context: u8, kind: &PDataValueType, bytes: &[u8], most: u32) -> Result<(), WireError> {
        const PDV_HEADER: usize = 6;
        let most = if most == 0 { usize::MAX } else { (most as usize).max(LEAST_PDU_BYTES) };
        let mut parts = bytes.chunks(most - PDV_HEADER).peekable();
        while let Some(part) = parts.next() {
            let value = PDataValue {
                presentation_context_id: context,
                value_type: kind.clone(),
                is_last: parts.peek().is_none(),
                data: part.to_vec(),
            };
            self.send(&Pdu::PData { data: vec![value] })?;
        }
        Ok(())
    }

    /// Tells the peer that the association is over; whether it hears it does not matter.
    pub(in crate::adapters) fn abort(&mut self, reason: AbortRQServiceProviderReason) {
        let _ = self.send(&Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) });
        self.end();
    }

    /// Ends the connection so that the peer can still read what was sent last.
    ///
    /// A socket that is closed with unread bytes is reset, and the reset may overtake the answer: the peer is given a
    /// moment to close first (PS3.8 9.2, Sta13).
    pub(in crate::adapters) fn end(&mut self) {
        self.stream.set_deadline(Instant::now() + Duration::from_secs(1));
        self.stream.close_notify();
        let socket = self.stream.socket();
        let _ = socket.socket.shutdown(std::net::Shutdown::Write);
        let mut bytes = [0; 4096];
        let mut left = 1 << 20;
        while let Ok(count @ 1..) = socket.read(&mut bytes)
            && left > 0
        {
            left -= count.min(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn wire() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Wire::accepted(listener.accept().unwrap().0, Duration::from_secs(5), None).unwrap(), peer)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let (mut wire, mut peer) = wire();
        peer.write_all(bytes).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(wire.receive_pdu(soon(), 4096).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_pdu_is_refused_by_its_header_before_its_body_is_taken() {
        check(&[4, 0, 0, 0, 0x10, 1], "a PDU of 4097 bytes, at most 4096 are taken");
        check(&[5, 0, 0xff, 0xff, 0xff, 0xff], "a PDU of 4294967295 bytes, at most 64 are taken");
        check(&[1, 0, 0, 0, 0, 4], "a PDU of type 01, which is not due here");
        check(&[0x16, 3, 1], "it speaks TLS, which is not configured (listener.tls)");
        check(&[4, 0, 0, 0, 0, 10, 0, 0], "the connection was closed");
        check(&[], "the connection was closed");
        check(&[4, 0, 0, 0, 0, 6, 0, 0, 0, 9, 1, 3], "a PDU that cannot be understood: Invalid PDU field length");
    }

    #[test]
    fn a_peer_that_sends_byte_by_byte_meets_the_deadline_of_the_whole() {
        let (mut wire, mut peer) = wire();
        wire.network_timeout = Duration::from_millis(300);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for byte in [4, 0, 0, 0, 0, 200].into_iter().chain([0; 200]) {
                    if peer.write_all(&[byte]).is_err() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            assert!(matches!(wire.receive_pdu(soon(), 4096), Err(WireError::TimedOut)));
            drop(wire);
        });
    }

    #[test]
    fn a_command_is_cut_into_pdus_that_the_peer_takes() {
        let (mut wire, mut peer) = wire();
        wire.send_command(3, &[7; 300], 128).unwrap();
        drop(wire);
        let mut sent = Vec::new();
        peer.read_to_end(&mut sent).unwrap();
        let mut rest = &sent[..];
        let mut lengths = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_be_bytes([rest[2], rest[3], rest[4], rest[5]]) as usize;
            assert_eq!(rest[10..12], [3, if rest.len() == 6 + length { 3 } else { 1 }]);
            lengths.push(length);
            rest = &rest[6 + length..];
        }
        assert_eq!(lengths, [128, 128, 62]);
    }
}

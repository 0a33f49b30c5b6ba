//! Who may have an association, and for what (PS3.8 7.1.1, PS3.7 D.3): one pure function and the tables it uses.

use std::net::IpAddr;

use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceProviderASCEReason,
    AssociationRJServiceProviderPresentationReason, AssociationRJServiceUserReason, AssociationRJSource, AssociationRQ,
    PresentationContextProposed, PresentationContextResult, PresentationContextResultReason, UserVariableItem,
};

use super::super::dicom::{TRANSFER_SYNTAXES, TransferSyntax};
use super::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION};
use crate::config::ListenerConfig;

/// The only application context there is (PS3.7 A.2.1).
pub(in crate::adapters) const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// Named where no transfer syntax is accepted; not significant then (PS3.8 9.3.3.2).
const IMPLICIT_LITTLE: &str = "1.2.840.10008.1.2";

/// A SOP class (PS3.4, PS3.6 A).
#[derive(Debug, PartialEq, Eq)]
pub struct SopClass {
    /// Its unique identifier.
    pub uid: &'static str,
    /// As the standard calls it.
    pub name: &'static str,
}

/// C-ECHO.
pub const VERIFICATION: SopClass = SopClass { uid: "1.2.840.10008.1.1", name: "Verification" };

/// N-ACTION and N-EVENT-REPORT: modalities delete what was committed.
pub const STORAGE_COMMITMENT: SopClass =
    SopClass { uid: "1.2.840.10008.1.20.1", name: "Storage Commitment Push Model" };

/// What can hold a radiograph of the chest.
pub const STORAGE_CLASSES: [SopClass; 6] = [
    SopClass { uid: "1.2.840.10008.5.1.4.1.1.1", name: "Computed Radiography Image Storage" },
    SopClass { uid: "1.2.840.10008.5.1.4.1.1.1.1", name: "Digital X-Ray Image Storage - For Presentation" },
    SopClass { uid: "1.2.840.10008.5.1.4.1.1.1.1.1", name: "Digital X-Ray Image Storage - For Processing" },
    SopClass { uid: "1.2.840.10008.5.1.4.1.1.7", name: "Secondary Capture Image Storage" },
    SopClass { uid: "1.2.840.10008.5.1.4.1.1.7.2", name: "Multi-frame Grayscale Byte Secondary Capture Image Storage" },
    SopClass { uid: "1.2.840.10008.5.1.4.1.1.7.3", name: "Multi-frame Grayscale Word Secondary Capture Image Storage" },
];

/// A presentation context that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) id: u8,
    pub(super) class: &'static SopClass,
    pub(super) syntax: &'static TransferSyntax,
}

/// What was agreed on.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) answer: AssociationAC,
    pub(super) contexts: Vec<Context>,
    /// The calling AE title, one of those configured.
    pub(super) peer: String,
    /// What the peer takes in one PDU; 0 for any size.
    pub(super) peer_pdu_bytes: u32,
    /// What was proposed and not accepted, for the log.
    pub(super) refused: Vec<String>,
}

/// An association that is not wanted.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) answer: AssociationRJ,
    pub(super) why: String,
}

fn by_user(reason: AssociationRJServiceUserReason, why: String) -> Refusal {
    let source = AssociationRJSource::ServiceUser(reason);
    Refusal { answer: AssociationRJ { result: AssociationRJResult::Permanent, source }, why }
}

/// What is answered when there are too many associations.
pub(super) fn too_many() -> Refusal {
    let reason = AssociationRJServiceProviderPresentationReason::LocalLimitExceeded;
    let source = AssociationRJSource::ServiceProviderPresentation(reason);
    let why = "too many associations at the same time (limits.associations)".to_owned();
    Refusal { answer: AssociationRJ { result: AssociationRJResult::Transient, source }, why }
}

/// A text from the wire, safe and short enough for the log.
fn shown(text: &str) -> String {
    let text: String = text.chars().take(64).collect();
    format!("{text:?}")
}

/// Judges what a peer at `address` proposes.
pub(super) fn negotiate(request: AssociationRQ, address: IpAddr, config: &ListenerConfig) -> Result<Agreed, Refusal> {
    // Only bit 0 is to be tested (PS3.8 9.3.2).
    if request.protocol_version & 1 == 0 {
        let reason = AssociationRJServiceProviderASCEReason::ProtocolVersionNotSupported;
        let source = AssociationRJSource::ServiceProviderASCE(reason);
        let why = format!("protocol version {:#x}, expected bit 0 set", request.protocol_version);
        return Err(Refusal { answer: AssociationRJ { result: AssociationRJResult::Permanent, source }, why });
    }
    if request.application_context_name.trim_end_matches('\0') != APPLICATION_CONTEXT {
        let why = format!("application context {}", shown(&request.application_context_name));
        return Err(by_user(AssociationRJServiceUserReason::ApplicationContextNameNotSupported, why));
    }
    if request.called_ae_title != config.ae_title.as_str() {
        let called = shown(&request.called_ae_title);
        let why =
            format!("it calls AE title {called}, this device is {:?} (listener.ae_title)", config.ae_title.as_str());
        return Err(by_user(AssociationRJServiceUserReason::CalledAETitleNotRecognized, why));
    }
    let calling = &request.calling_ae_title;
    let mut peers = config.peers.iter().filter(|peer| peer.ae_title.as_str() == calling).peekable();
    if peers.peek().is_none() {
        let why = format!("it calls itself AE title {}, which is none of listener.peers", shown(calling));
        return Err(by_user(AssociationRJServiceUserReason::CallingAETitleNotRecognized, why));
    }
    if !peers.any(|peer| peer.calls_from(address)) {
        let why = format!("AE title {} does not call from {address} according to listener.peers", shown(calling));
        return Err(by_user(AssociationRJServiceUserReason::CallingAETitleNotRecognized, why));
    }
    let mut ids: Vec<u8> = request.presentation_contexts.iter().map(|proposed| proposed.id).collect();
    ids.sort_unstable();
    if ids.is_empty() || ids.iter().any(|id| id % 2 == 0) || !ids.is_sorted_by(|a, b| a < b) {
        let why = "presentation contexts without, with even or with equal numbers".to_owned();
        return Err(by_user(AssociationRJServiceUserReason::NoReasonGiven, why));
    }

    let mut contexts = Vec::new();
    let mut refused = Vec::new();
    let mut results = Vec::new();
    for proposed in &request.presentation_contexts {
        let (reason, syntax) = match choose(proposed) {
            Ok(context) => {
                contexts.push(context);
                (PresentationContextResultReason::Acceptance, context.syntax.uid)
            }
            Err(reason) => {
                refused.push(format!("{} ({reason})", shown(&proposed.abstract_syntax)));
                (reason, IMPLICIT_LITTLE)
            }
        };
        results.push(PresentationContextResult { id: proposed.id, reason, transfer_syntax: syntax.to_owned() });
    }
    let peer_pdu_bytes = request.user_variables.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(most) => Some(*most),
        _ => None,
    });
    let answer = AssociationAC {
        protocol_version: 1,
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        calling_ae_title: request.calling_ae_title.clone(),
        called_ae_title: request.called_ae_title,
        presentation_contexts: results,
        user_variables: vec![
            UserVariableItem::MaxLength(config.limits.pdu_bytes),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION.to_owned()),
        ],
    };
    Ok(Agreed {
        answer,
        contexts,
        peer: request.calling_ae_title,
        peer_pdu_bytes: peer_pdu_bytes.unwrap_or(0),
        refused,
    })
}

/// The most preferred of the transfer syntaxes that were proposed.
fn choose(proposed: &PresentationContextProposed) -> Result<Context, PresentationContextResultReason> {
    let wanted = proposed.abstract_syntax.trim_end_matches('\0');
    let is_proposed = |syntax: &&TransferSyntax| {
        proposed.transfer_syntaxes.iter().any(|uid| uid.trim_end_matches('\0') == syntax.uid)
    };
    let without_pixels = [&VERIFICATION, &STORAGE_COMMITMENT].into_iter().find(|class| class.uid == wanted);
    let (class, syntax) = if let Some(class) = without_pixels {
        // The two uncompressed little endian syntaxes suffice.
        (class, TRANSFER_SYNTAXES[..2].iter().find(is_proposed))
    } else {
        let class = STORAGE_CLASSES.iter().find(|class| class.uid == wanted);
        let class = class.ok_or(PresentationContextResultReason::AbstractSyntaxNotSupported)?;
        (class, TRANSFER_SYNTAXES.iter().find(is_proposed))
    };
    let syntax = syntax.ok_or(PresentationContextResultReason::TransferSyntaxesNotSupported)?;
    Ok(Context { id: proposed.id, class, syntax })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Limits, Peer};

    fn config() -> ListenerConfig {
        ListenerConfig {
            address: "127.0.0.1:0".parse().unwrap(),
            ae_title: "LIGHTBOX".parse().unwrap(),
            peers: vec![Peer {
                ae_title: "XRAY1".parse().unwrap(),
                networks: vec!["127.0.0.0/8".parse().unwrap()],
                report_to: None,
            }],
            tls: None,
            limits: Limits::default(),
        }
    }

    fn proposed(id: u8, class: &str, syntaxes: &[&str]) -> PresentationContextProposed {
        let transfer_syntaxes = syntaxes.iter().map(|&uid| uid.to_owned()).collect();
        PresentationContextProposed { id, abstract_syntax: class.to_owned(), transfer_syntaxes }
    }

    fn request(contexts: Vec<PresentationContextProposed>) -> AssociationRQ {
        AssociationRQ {
            protocol_version: 1,
            calling_ae_title: "XRAY1".to_owned(),
            called_ae_title: "LIGHTBOX".to_owned(),
            application_context_name: APPLICATION_CONTEXT.to_owned(),
            presentation_contexts: contexts,
            user_variables: vec![UserVariableItem::MaxLength(16_384)],
        }
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const CR: &str = "1.2.840.10008.5.1.4.1.1.1";

    #[track_caller]
    fn check(change: impl FnOnce(&mut AssociationRQ), source: AssociationRJSource, why: &str) {
        let mut request = request(vec![proposed(1, CR, &[IMPLICIT_LITTLE])]);
        change(&mut request);
        let refused = negotiate(request, HERE, &config()).unwrap_err();
        assert_eq!((refused.answer.source, refused.why.as_str()), (source, why));
    }

    #[test]
    fn whoever_is_not_named_is_refused_with_the_reason() {
        use AssociationRJServiceUserReason as User;
        let by_user = AssociationRJSource::ServiceUser;
        check(
            |request| request.called_ae_title = "PACS".to_owned(),
            by_user(User::CalledAETitleNotRecognized),
            "it calls AE title \"PACS\", this device is \"LIGHTBOX\" (listener.ae_title)",
        );
        check(
            |request| request.calling_ae_title = "ANY\n".to_owned(),
            by_user(User::CallingAETitleNotRecognized),
            "it calls itself AE title \"ANY\\n\", which is none of listener.peers",
        );
        check(
            |request| request.application_context_name = "1.2".to_owned(),
            by_user(User::ApplicationContextNameNotSupported),
            "application context \"1.2\"",
        );
        check(
            |request| request.protocol_version = 2,
            AssociationRJSource::ServiceProviderASCE(
                AssociationRJServiceProviderASCEReason::ProtocolVersionNotSupported,
            ),
            "protocol version 0x2, expected bit 0 set",
        );
        for ids in [&[][..], &[2], &[1, 3, 1]] {
            check(
                |request| {
                    request.presentation_contexts =
                        ids.iter().map(|id| proposed(*id, CR, &[IMPLICIT_LITTLE])).collect();
                },
                by_user(User::NoReasonGiven),
                "presentation contexts without, with even or with equal numbers",
            );
        }
        let elsewhere = "10.0.0.1".parse().unwrap();
        let refused = negotiate(request(vec![proposed(1, CR, &[IMPLICIT_LITTLE])]), elsewhere, &config()).unwrap_err();
        assert_eq!(refused.why, "AE title \"XRAY1\" does not call from 10.0.0.1 according to listener.peers");
        assert_eq!(too_many().answer.result, AssociationRJResult::Transient);
    }

    #[test]
    fn lossless_is_preferred_and_what_cannot_be_read_is_refused() {
        use PresentationContextResultReason as Result;
        let agreed = negotiate(
            request(vec![
                proposed(1, CR, &["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"]),
                proposed(3, CR, &["1.2.840.10008.1.2.4.50"]),
                proposed(5, CR, &["1.2.840.10008.1.2.4.100", "1.2.3"]),
                proposed(7, "1.2.840.10008.5.1.4.1.1.2", &[IMPLICIT_LITTLE]),
                proposed(9, VERIFICATION.uid, &["1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1\0"]),
                proposed(11, VERIFICATION.uid, &["1.2.840.10008.1.2.4.50"]),
            ]),
            HERE,
            &config(),
        )
        .unwrap();
        let reasons: Vec<_> = agreed.answer.presentation_contexts.iter().map(|result| result.reason.clone()).collect();
        assert_eq!(
            reasons,
            [
                Result::Acceptance,
                Result::Acceptance,
                Result::TransferSyntaxesNotSupported,
                Result::AbstractSyntaxNotSupported,
                Result::Acceptance,
                Result::TransferSyntaxesNotSupported
            ]
        );
        let accepted: Vec<_> = agreed.contexts.iter().map(|context| (context.id, context.syntax.uid)).collect();
        assert_eq!(
            accepted,
            [(1, "1.2.840.10008.1.2.4.70"), (3, "1.2.840.10008.1.2.4.50"), (9, "1.2.840.10008.1.2.1")]
        );
        assert_eq!(agreed.peer_pdu_bytes, 16_384);
        assert_eq!(agreed.refused[1], "\"1.2.840.10008.5.1.4.1.1.2\" (abstract syntax not supported)");
    }
}
